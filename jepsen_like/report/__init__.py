"""Results of campaigns, written down, and the page that shows them.

result     what a campaign leaves behind, as JSON
page       as one HTML page                       plot    a stage over time
text       for the terminal                       words   numbers as people read them
command    `python -m jepsen_like report`
"""
