"""`tbox conform`: judges a microcontroller by what it does on its line."""
