"""Results of campaigns, written down, and the page that shows them.

result     what a campaign leaves behind, as JSON
"""
