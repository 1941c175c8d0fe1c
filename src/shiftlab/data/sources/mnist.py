"""MNIST: handwritten digits, grey (LeCun, Cortes and Burges)."""

from shiftlab.data.mnist_format import source

SOURCE = source("MNIST", "MNIST", tuple("0123456789"))
