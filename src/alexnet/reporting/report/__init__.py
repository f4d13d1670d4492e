"""One printable page about one run or several: cover, contents, numbered figures and tables.

``writing`` tells the story, ``material`` gathers what a run and its data give, ``chapters`` are its
sections, ``comparison`` sets runs side by side, ``page`` is HTML; ``reporting.words`` has the languages. The
page holds its pictures itself and asks for nothing from elsewhere.
"""
