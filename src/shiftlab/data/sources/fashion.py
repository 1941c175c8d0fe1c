"""Fashion-MNIST: ten kinds of clothing, grey (Xiao, Rasul and Vollgraf 2017)."""

from shiftlab.data.mnist_format import source

CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

SOURCE = source("Fashion-MNIST", "FashionMNIST", CLASSES)
