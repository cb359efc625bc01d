"""Where documents come from: declared sources, listed and read through one small port."""
