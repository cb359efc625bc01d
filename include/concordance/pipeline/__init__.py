"""The stages of a run, in their order: plan, extract, embed, load, publish. `run` walks through all of them.

A stage is a function of references: it finds its input in the staging area, leaves its output there, and returns a
small reference. A stage that finds its output finished returns at once.
"""
