"""A real member under the harness: production code on a disk that can lose what it may lose.

lossy      the disk of the simulator, kept in step with a real directory
watched    any disk, with a failpoint before and behind each call that matters
points     failpoints: what is armed, and what happens where it strikes
places     where the failpoints are in the production code, which knows nothing of them
listening  the control socket within the member
control    the same from outside
"""
