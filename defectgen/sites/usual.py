"""Where hydrogen, carbon, nitrogen and oxygen sit between the atoms of a metal.

Hydrogen sits on tetrahedral sites in bcc and hcp metals, as in Nb, Ta, Ti and Zr, and on octahedral
ones in fcc metals, as in Ni and Pd (Y. Fukai, The Metal-Hydrogen System, Springer 2005, DOI
10.1007/3-540-28883-X). Carbon, nitrogen and oxygen sit on octahedral sites in all three (J. D.
Fast, Gases in Metals, Macmillan 1976; M. S. Blanter et al., Internal Friction in Metallic
Materials, Springer 2007, DOI 10.1007/978-3-540-68758-0). For other structures there is no such rule
here: they take the site with most room.
"""

from __future__ import annotations

from collections.abc import Sequence

from defectgen.hosts.host import Host
from defectgen.sites.interstitial import InterstitialSite

_FCC, _BCC, _HCP = 225, 229, 194
_OF_HYDROGEN = {_FCC: "octahedral", _BCC: "tetrahedral", _HCP: "tetrahedral"}
_OF_OTHERS = dict.fromkeys((_FCC, _BCC, _HCP), "octahedral")
_AS_FAR = 1e-6
"""Part of a distance by which two of the same may differ."""


def usual_sites(
    host: Host, impurity: str, sites: Sequence[InterstitialSite]
) -> tuple[InterstitialSite, ...]:
    """The interstitial sites of a host that a light impurity takes.

    Args:
        impurity: one of `hosts.elements.LIGHT`.
        sites: all that the host has.
    """
    usual = (_OF_HYDROGEN if impurity == "H" else _OF_OTHERS).get(host.space_group)
    if found := tuple(site for site in sites if site.coordination == usual):
        return found
    most = max(site.distance for site in sites)
    return tuple(site for site in sites if site.distance > (1 - _AS_FAR) * most)
