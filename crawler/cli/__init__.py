"""The command line: one file for each command, and the few things that several of them need.

commands        what there is            app             which of them runs, and what its errors look like
crawl demo                               run             a crawl in the foreground: signals, display, summary
status doctor export                     jobs            what is below the output folder
list new settings                        find loading    from SPIDER to a class
layers          where settings come from logs display report words    what a person or a program sees
starter         the built-in spider and the template of a new one
watch supervise a crawl's supervisor             engine serve    an engine of it
"""
