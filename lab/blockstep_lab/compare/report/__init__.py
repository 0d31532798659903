"""The parts of the HTML report.

markup     elements whose text is escaped unless somebody says that it is markup
figures    charts and courses in plotly's words
drawings   the places of the charts in the page: captions, keys, what to say where there is none
cells      the table of all cells
method     how it was measured, and how to repeat it
page       all of it in one document; page.css and page.js go into it as they are
"""
