"""crawler: kill it at any moment, run the same command again, and nothing is lost or doubled.

The floors, from the ground; a file imports from its own floor or from below:

    0 rules      errors models urls scope robots politeness settings     plain functions and frozen data: no I/O, no clock
                 decoding charset
    1 authors    html response spider items                              what the author of a spider touches
    2 ports      fetch frontier files sinks                              the network, the journal, the disk
    3 crawl      workbench visits engine export crawl                    one page's journey
    4 doors      cli demo testing                                        how people come in
"""
