"""How trained parameters are tested again: on how many episodes, and which queries go through the
network together, since batch norm takes the statistics of those.
"""

EPISODES = 600  # of a candidate, whose settings have none

PROTOCOLS = {
    "together": "all of an episode, as many of each class: the paper",
    "support": "each by itself, with the statistics of the support set",
    "class": "those of one class at a time",
    "unbalanced": "all of one class with one of each other, for each class",
    "alone": "one at a time, with its own statistics",
}
