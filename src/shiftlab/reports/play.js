() => {
  // The brush in the visitor's hand from the start, which gradio leaves to be picked up.
  const waiting = setInterval(() => {
    const brush = document.querySelector('#sketch button[aria-label="Brush"]');
    if (brush) { brush.click(); clearInterval(waiting); }
  }, 100);
}
