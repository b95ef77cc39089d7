"""What can be done to real members: each fault says what it needs, strikes, and undoes itself.

fault      the shape of a fault, of its needs and of the arena it acts in
"""
