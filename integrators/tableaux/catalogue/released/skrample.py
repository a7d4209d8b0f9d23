"""The audited tables of skrample, all of them explicit Runge-Kutta tables."""

from __future__ import annotations

from functools import partial

from .table import Butcher, Release, Released, Repair, collect, read, shu_osher

SHU_OSHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "RK3_5": (
        (
            "1",
            "0 1",
            "0.355909775063327 0 0.644090224936674",
            "0.367933791638137 0 0 0.632066208361863",
            "0 0 0.237593836598569 0 0.762406163401431",
        ),
        (
            "0.377268915331368",
            "0 0.377268915331368",
            "0 0 0.242995220537396",
            "0 0 0 0.238458932846290",
            "0 0 0 0 0.287632146308408",
        ),
    ),
    "RK3_6": (
        (
            "1",
            "0 1",
            "0 0 1",
            "0.476769811285196 0.098511733286064 0 0.424718455428740",
            "0 0 0 0 1",
            "0 0 0.155221702560091 0 0 0.844778297439909",
        ),
        (
            "0.284220721334261",
            "0 0.284220721334261",
            "0 0 0.284220721334261",
            "0 0 0 0.120713785765930",
            "0 0 0 0 0.284220721334261",
            "0 0 0 0 0 0.240103497065900",
        ),
    ),
    "RK3_7": (
        (
            "1",
            "0 1",
            "0 0 1",
            "0.184962588071072 0 0 0.815037411928928",
            "0.180718656570380 0.314831034403793 0 0 0.504450309025826",
            "0 0 0 0 0 1",
            "0 0 0 0.120199000000000 0 0 0.879801000000000",
        ),
        (
            "0.233213863663009",
            "0 0.233213863663009",
            "0 0 0.233213863663009",
            "0 0 0 0.190078023865845",
            "0 0 0 0 0.117644805593912",
            "0 0 0 0 0 0.233213863663009",
            "0 0 0 0 0 0 0.205181790464579",
        ),
    ),
    "RK3_8": (
        (
            "1",
            "0 1",
            "0 0 1",
            "0 0 0 1",
            "0.421366967085359 0.005949401107575 0 0 0.572683631807067",
            "0 0.004254010666365 0 0 0 0.995745989333635",
            "0 0 0.104380143093325 0.243265240906726 0 0 0.652354615999950",
            "0 0 0 0 0 0 0 1",
        ),
        (
            "0.195804015330143",
            "0 0.195804015330143",
            "0 0 0.195804015330143",
            "0 0 0 0.195804015330143",
            "0 0 0 0 0.112133754621673",
            "0 0 0 0 0 0.194971062960412",
            "0 0 0 0 0 0 0.127733653231944",
            "0 0 0 0 0 0 0 0.195804015330143",
        ),
    ),
    "RK4_5": (
        (
            "1",
            "0.444370493651235 0.555629506348765",
            "0.620101851488403 0 0.379898148511597",
            "0.178079954393132 0 0 0.821920045606868",
            "0 0 0.517231671970585 0.096059710526147 0.386708617503269",
        ),
        (
            "0.391752226571890",
            "0 0.368410593050371",
            "0 0 0.251891774271694",
            "0 0 0 0.544974750228521",
            "0 0 0 0.063692468666290 0.226007483236906",
        ),
    ),
    "RK5_10": (
        (
            "1",
            "0.258168167463650 0.741831832536350",
            "0 0.037493531856076 0.962506468143924",
            "0.595955269449077 0 0.404044730550923 0",
            "0.331848124368345 0 0 0.008466192609453 0.659685683022202",
            "0.086976414344414 0 0 0 0 0.913023585655586",
            "0.075863700003186 0 0.267513039663395 0 0 0 0.656623260333419",
            "0.005212058095597 0 0 0.407430107306541 0 0 0 0.587357834597862",
            "0.122832051947995 0 0 0 0 0 0 0 0.877167948052005",
            "0.075346276482673 0.000425904246091 0 0 0 0.064038648145995 0.354077936287492 0 0 "
            "0.506111234837749",
        ),
        (
            "0.173586107937995",
            "0 0.218485490268790",
            "0 0.011042654588541 0.283478934653295",
            "0 0 0.118999896166647 0",
            "0.025030881091201 0 0 -0.002493476502164 0.194291675763785",
            "0 0 0 0 0 0.268905157462563",
            "0 0 0.066115378914543 0 0 0 0.193389726166555",
            "0 0 0 -0.119996962708895 0 0 0 0.172989562899406",
            "0.000000000000035 0 0 0 0 0 0 0 0.258344898092277",
            "0.016982542367506 0 0 0 0 0.018860764424857 0.098896719553054 0 0 0.149060685217562",
        ),
    ),
}
"""Alphas and betas, a row per stage."""
TINY = "the coefficients of the conditions that fail are made small, 1e-6 to 1e-4"
SHANKS = "a reduced-stage approximation of Shanks, as the file says: the order in its name is not reached"


def stored(name: str, file: str = "skrample.txt") -> Butcher:
    """A table of a data file."""
    return read(file)[name]


def _table(name: str, claimed: int, claim: str) -> Released:
    return Released(name, partial(stored, name), claimed, claim)


def _class(order: int, prefix: str, names: str) -> tuple[Released, ...]:
    return tuple(_table(f"{prefix}.{name}", order, "name of its class") for name in names.split())


def _ssp(name: str, order: int) -> Released:
    rows = SHU_OSHER[name]
    return Released(f"SSP.{name}", partial(shu_osher, *rows), order, "name, order and stages", 15)


def _shanks(name: str, order: int, right: str, source: str) -> Released:
    repair = Repair(partial(stored, right), source)
    build = partial(stored, f"Shanks1965.{name}")
    return Released(
        f"Shanks1965.{name}",
        build,
        order,
        "name, order and stages",
        defect=SHANKS,
        repair=repair,
        hidden=TINY,
    )


TABLES = (
    _table("RK1.Euler", 1, "name of its class"),
    *_class(2, "RK2", "Mid Ralston Golden EES5_SYM EES5_MIN EES7_SYM EES7_MIN"),
    *_class(3, "RK3", "Kutta Heun Ralston Wray"),
    *_class(4, "RK4", "Kutta Eighth Ralston"),
    *_class(2, "RKE2", "Heun Fehlberg"),
    *_class(3, "RKE3", "BogackiShampine SSPRK3_4"),
    *_class(5, "RKE5", "Fehlberg CashKarp DormandPrince"),
    *(_table(f"RKZ.{n}", p, "name") for n, p in (("Nystrom5", 5), ("Butcher6", 6), ("CV8", 8))),
    *(
        Released(f"RKZ.{name}", partial(stored, f"RKZ.{name}", "skrample-high.txt"), order, "name", digits)
        for name, order, digits in (
            ("Stepanov10", 10, 88),
            ("Ono10", 10, 80),
            ("Harrier10", 10, 16),
            ("Zhang10", 10, 75),
            ("Feagin10", 10, 58),
            ("Feagin12", 12, 58),
            ("Feagin14", 14, 56),
        )
    ),
    _table("SSP.RK3_3", 3, "name, order and stages"),
    *(_ssp(name, int(name[2])) for name in SHU_OSHER),
    *(
        _table(f"WSO.RK_{name}", int(name[2]), "name, stages, order and weak stage order")
        for name in ("3_2_2", "4_3_2", "5_3_3", "6_4_3", "7_4_4", "8_5_4", "9_5_5")
    ),
    *(_table(f"Shanks1965.{n}", p, "name, order and stages") for n, p in (("RK4_4", 4), ("RK7_9", 7))),
    _table("Shanks1965.RK8_12", 8, "name, order and stages"),
    _shanks("RK5_5", 5, "RKZ.Nystrom5", "Nystrom 1925, six stages"),
    _shanks("RK6_6", 6, "RKZ.Butcher6", "Butcher 1964, seven stages"),
    _shanks("RK7_7", 7, "Shanks1965.RK7_9", "Shanks 1965, nine stages"),
    _shanks("RK8_10", 8, "Shanks1965.RK8_12", "Shanks 1965, twelve stages"),
)
SKRAMPLE = Release(
    "Beinsezii/skrample",
    "2213bf4e56cd40ec61b9d5da9a733dcf7bb75c7d",
    "skrample/sampling/tableaux",
    collect(TABLES),
    {
        "error rows of RKE2, RKE3, RKE5": "embedded rows of orders 1, 2 and 4, which no name claims more of",
        "RK2Custom, RK3Custom, RK4Custom, DynasauRK": "families in abscissae that the user sets",
        "Adams": "its weights are polynomials of the run's steps",
    },
)
"""The release."""
