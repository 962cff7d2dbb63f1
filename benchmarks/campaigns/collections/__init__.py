"""Collections of public test problems: readers of their files, one problem in a process of its own, and the report."""
