"""`tbox demo`: a simulated car driving, from CAN bus to signed trace."""
