"""The checkers: given what clients did and were told, could a correct server have done so?

They know nothing of how a history came about; simulated members, real processes and a real etcd are
judged alike.

    history    what clients did and were told        model      a second, plain key space
    coverage   what watchers were shown              agreed     the one log of simulated members
    promises   what had to come out: answers, order, reads, watches, ttls
    explain    which operation stands at which index, from the outside
    replay     that order on the model               linear     a search that looks at no index
"""
