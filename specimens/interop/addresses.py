"""Which addresses may be called out of the laboratory: the guard against request forgery.

A destination is typed in by an administrator, its name is resolved by whoever runs the DNS. So a
name is resolved here, each address it has is judged, and the connection goes to the address that
was judged: an answer that changes between the two (DNS rebinding) changes nothing.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 6052: an IPv4 address inside an IPv6 one, as a NAT64 gateway would call it.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 4291 section 2.5.5.1: the deprecated ::a.b.c.d; the first two of it are :: and ::1.
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


class AddressRefused(ValueError):
    """The address may not be called; the text says which, why, and what an administrator can do."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What WBCLAB_DELIVERY_ALLOWED_HOSTS permits beyond the public internet."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = field(default=())

    @classmethod
    def read(cls, entries: Sequence[str]) -> "Allowed":
        """Read host names, addresses and networks (10.2.0.0/16). Raises ValueError for a network
        whose host bits are set: that is a slip of the pen, and would allow more than was meant.
        """
        hosts, networks = set(), []
        for entry in (entry.strip().lower() for entry in entries):
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if "/" in entry:
                    raise
                hosts.add(entry.rstrip("."))
        return cls(frozenset(hosts - {""}), tuple(networks))

    def permits(self, host: str, address: Address) -> bool:
        """Tell whether `address`, which `host` was resolved to, may be called."""
        if host.lower().rstrip(".") in self.hosts:
            return True
        inner = _unwrapped(address)
        listed = any(one in net for one in (address, inner) for net in self.networks)
        return listed or (inner.is_global and not inner.is_multicast)

    def names(self, host: str, address: Address) -> bool:
        """Tell whether an administrator has named the host, or a network it lies in."""
        named = host.lower().rstrip(".") in self.hosts
        return named or any(_unwrapped(address) in network for network in self.networks)


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one that carries one, else the address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def checked_addresses(host: str, port: int, allowed: Allowed) -> list[Address]:
    """Resolve `host` and return its addresses, all of which may be called.

    Raises AddressRefused where one of them may not be (a name that points inside as well as
    outside is no accident), OSError where the name has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [
        ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
        for _, _, _, _, sockaddr in dict.fromkeys(found)
    ]
    for address in addresses:
        if not allowed.permits(host, address):
            raise AddressRefused(
                f"{host} is {address}, which is not a public address. If it is one of your own "
                "systems, have its name or network added to WBCLAB_DELIVERY_ALLOWED_HOSTS."
            )
    return addresses
