"""The checkers: given what clients did and were told, could a correct server have done so?

They know nothing of how a history came about; simulated members, real processes and a real etcd are
judged alike.

    history    what clients did and were told        model      a second, plain key space
    coverage   what watchers were shown              agreed     the one log of simulated members
    promises   what had to come out: answers, order, reads, watches, ttls
    explain    which operation stands at which index, from the outside
    replay     that order on the model               converged  all members show the same
    registers  keys for a search that knows          linear     that search
               no index
    judge      all of these over one history         evidence   such a history
    records    as a file                             command    `python -m jepsen_like check`
"""
