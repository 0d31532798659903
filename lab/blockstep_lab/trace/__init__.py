"""Captures of TFTP: written by our own programs, read from anybody's, and explained.

The way of a packet through this package, one file for each step:

    pcap, pcapng          bytes of a file       -> frames
    linklayer, ip         a frame               -> a UDP datagram, fragments put together
    sightings             datagrams             -> the same without second sights of one packet
    conversations         datagrams             -> transfers: request, the pair of TIDs, packets with wire numbers
    numbering, causes     a finished transfer   -> block indexes, resends and why, stalls and why
    rules                 a finished transfer   -> violations of the RFCs
    summary, ladder, records, extract           -> what a person, a program or a disk gets

`blockstep.transport.pcapng_writer` is the other direction and depends on none of them.
"""
