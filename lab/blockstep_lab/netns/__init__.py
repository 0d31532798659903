"""Hosts in network namespaces of their own, joined by a router in user space: one bad link for UDP and TCP alike.

What each file is for, from the outside in:

    lab            `Lab`, which others use: starts everything, changes the link, tells how well it kept its word
    host           programs and functions that run on a host of the lab
    checks         what a run says about itself
    state          how another terminal finds a running lab
    router_process the process that makes the hosts and then routes
    router, ports  packets in, a decision each, packets out at their time
    way, packets   one direction of the link: the model of `impairment`, asked about whole IP packets
    plumbing       devices, addresses, routes and settings inside one host
    namespaces, syscalls, forked, sweep         the kernel's part

Nothing here exists on a disk: namespaces are held by descriptors, and end with the last of them.
"""
