"""The same file over UDP and over TCP on one bad link, and what the numbers say.

What each file is for, from the outside in:

    grid           what is asked for on the command line becomes links, contenders and an order of runs
    campaign       goes through that order, keeps what is done, resumes
    arena, remote, virtual   the three places where a run can happen: namespaces, another host, virtual time
    oneshot, watched         one transfer with our own machines, and everything that is measured of it
    statistics, theory, summing, words     from runs to medians, to laws, to cells, to sentences
    results, decoding        the record of all of it: one JSON file
    table          the record on a terminal
    charts, axes, palette    which charts the record has, where things stand on them, how contenders look
    html_report, report      the record as one HTML page, with plotly
    plots          its charts as pictures, with matplotlib
"""
