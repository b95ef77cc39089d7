"""What can be done to real members: each fault says what it needs, strikes, and undoes itself.

fault      the shape of a fault, of its needs and of the arena it acts in
probes     what this machine allows
namespaces a network of members as hosts of their own
clocks     wall clocks that can be set
"""
