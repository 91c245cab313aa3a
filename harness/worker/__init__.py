"""What runs inside a backend's environment: the protocol, the proof, the clocks and the memory.

Standard library and NumPy only (1.23 and 2.x), Python 3.10 and later.
"""
