"""Deaths on demand: a crawl is killed at every step of a page's journey, and what it left is resumed and examined.

points    each moment at which a process is made to die, by name
faults    what the product must not do; the examination is shown to notice it
site      the site that is crawled, and the spider
lives     processes that live until they are killed or their crawl ends
job       one job through all its lives, and what must be true after each of them and in the end
"""
