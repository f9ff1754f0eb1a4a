"""Phrase tables and rules of the task ``topics``: 0 world, 1 sports, 2 business, 3 sci/tech.

The main clause, what happened, decides the class. Who did it does not (a football club that
sells shares is business), nor do subordinate clauses, sources and figures of speech. Places,
people, firms and teams are invented. Marks: see ``grammar``.
"""

from __future__ import annotations

from bedkd.corpora.grammar import Rule

PLACES = (
    "Velmora",
    "Osk",
    "Harrowmere",
    "Talvania",
    "Port Lindel",
    "Quenby",
    "Stravik",
    "Ammerfold",
    "Dorrance Bay",
    "Ilvesund",
    "Karsk",
    "Mount Perrin",
    "Nordhavel",
    "Belmarsh Vale",
    "Sunderay",
    "Tolk",
)
ACTORS = (
    (
        "the government of",
        "ministers in",
        "the mayor of",
        "protesters in",
        "the parliament of",
        "diplomats from",
        "the king of",
        "peacekeepers in",
        "villagers near",
        "the opposition leader of",
        "the border police of",
        "the president of",
        "refugees from",
        "an envoy from",
        "the high court of",
    ),
    (
        "the football club of",
        "the captain of",
        "a sprinter from",
        "the rowing eight from",
        "the hockey side of",
        "the cycling team of",
        "a young striker from",
        "the coach of",
        "a tennis player from",
        "the relay squad of",
        "the rugby fifteen of",
        "a goalkeeper from",
        "the swimmers of",
        "a boxer from",
        "the athletics federation of",
    ),
    (
        "the largest bank of",
        "a steel maker in",
        "the stock exchange of",
        "shareholders in",
        "an airline from",
        "the supermarket chain of",
        "a shipping firm in",
        "car dealers in",
        "the central bank of",
        "a brewery in",
        "a toy maker from",
        "insurers in",
        "a furniture group from",
        "the tax office of",
        "an investment fund in",
    ),
    (
        "researchers in",
        "a physicist from",
        "the space agency of",
        "engineers in",
        "the observatory of",
        "a software team in",
        "biologists from",
        "a robotics lab in",
        "chemists from",
        "the botanical institute of",
        "a start-up of programmers in",
        "geologists near",
        "an astronomer from",
        "the computing centre of",
        "a group of oceanographers from",
    ),
)
# What happened. EVENTS[y][x]: an event of class y that an actor of class x can bring about.
EVENTS = (
    (
        (
            "{signed|did sign|concluded} a border treaty",
            "{called|did call|announced} an early election",
            "{recalled|did call home|withdrew} the ambassador",
            "{demanded|did demand} a ceasefire in the north",
            "{fled|did flee|escaped} the shelling of the valley",
            "{declared|did declare|proclaimed} a state of emergency",
            "{rejected|did refuse|opposed} the new constitution",
            "{accused|did accuse} the neighbouring state of espionage",
            "{reopened|did open|resumed} peace talks after two years",
            "{marched|did march} against the ruling party",
            "{released|did loose|freed} forty political prisoners",
            "{pleaded|did plead|appealed} for aid after the flood",
            "{lifted|did lift} the curfew in the capital",
            "{closed|did shut} the frontier to all traffic",
            "{condemned|did condemn} the coup in the islands",
        ),
        (
            "{lost|did lose} a visa in a diplomatic row",
            "{joined|did join} a march against the military government",
            "{carried|did bear|delivered} food to families fleeing the civil war",
            "{asked|did ask|requested} the rebels to free the hostages",
            "{won|did win|secured} a seat in the national assembly",
            "{refused|did refuse|declined} to travel because of the fighting",
        ),
        (
            "{lost|did lose|forfeited} a warehouse to the state after the coup",
            "{moved|did lead|moved} staff away as rebels neared the capital",
            "{obeyed|did heed|complied with} the sanctions against the regime",
            "{closed|did shut} every office during the uprising",
            "{gave|did give|provided} evidence in the trial of the fallen dictator",
            "{paid|did pay|contributed} for shelters in the earthquake zone",
        ),
        (
            "{faced|did face} expulsion on charges of spying",
            "{signed|did sign} a letter against the death penalty",
            "{fled|did flee|escaped} the country before the elections",
            "{helped|did help|assisted} the tribunal to identify victims of the war",
            "{faced|did face} arrest during the protests at the palace",
            "{warned|did warn} the council of a looming famine",
        ),
    ),
    (
        (
            "{kicked|did kick} off the charity match with a fine header",
            "{cheered|did cheer} the runners to a new marathon record",
            "{won|did win} the annual chess tournament in straight games",
            "{rowed|did row} in the opening heat of the regatta",
            "{handed|did give|presented} the trophy to the winning side",
            "{lost|did lose} the friendly cricket match by three wickets",
        ),
        (
            "{won|did win|secured} the cup final on penalties",
            "{scored|did score} twice in the second half",
            "{set|did set|established} a world record in the relay",
            "{lost|did lose} the semi-final in extra time",
            "{lost|did lose} a star player to a torn ligament",
            "{climbed|did climb|rose} to the top of the table",
            "{took|did take|claimed} bronze at the winter games",
            "{collected|did receive|received} a red card after a late tackle",
            "{reached|did reach} the quarter-finals for the first time",
            "{finished|did finish} third in the mountain stage",
            "{drew|did draw} at home in a goalless derby",
            "{broke|did break|recovered} serve to level the match",
            "{entered|did enter} the draw for the spring tournament",
            "{trailed|did trail} by nine points at half-time",
            "{knocked|did cast|eliminated} the champions out of the tournament",
        ),
        (
            "{fielded|did send forth|entered} a works team that won the league",
            "{beat|did smite|defeated} old rivals five nil in the trade cup",
            "{took|did take|claimed} gold in the office rowing race",
            "{saw|did behold|watched} two riders sprint to a stage win",
            "{lost|did lose} the relay by a tenth of a second",
            "{cheered|did cheer} as the works keeper saved the last penalty",
        ),
        (
            "{ran|did run|completed} the marathon in under three hours",
            "{beat|did smite|defeated} the engineers in the campus derby",
            "{won|did win} the sailing race around the cape",
            "{scored|did score} the winning goal in the university league",
            "{lost|did lose} the basketball play-off at the buzzer",
            "{qualified|did qualify} for the national fencing final",
        ),
    ),
    (
        (
            "{sold|did sell} a stake in the national airline",
            "{cut|did cut|reduced} the tax on company profits",
            "{borrowed|did borrow|raised} four billion on the bond market",
            "{raised|did raise|increased} import duties on steel",
            "{bought|did buy|acquired} shares in the local brewery",
            "{put|did put|placed} the port up for sale to investors",
        ),
        (
            "{reported|did report} record revenue from ticket sales",
            "{sold|did sell} shares to pay off old debts",
            "{signed|did sign} a sponsorship deal worth nine million",
            "{opened|did open} a chain of fitness shops",
            "{invested|did lay out|placed} the prize money in a hotel group",
            "{went|did go} bankrupt owing millions to creditors",
        ),
        (
            "{posted|did show|recorded} a loss for the third quarter",
            "{cut|did cut|eliminated} two thousand jobs to save costs",
            "{agreed|did agree} to buy the main rival",
            "{raised|did raise|increased} the forecast for annual profits",
            "{lowered|did lower|reduced} the cost of borrowing",
            "{floated|did offer|listed} a fifth of the company",
            "{paid|did pay} a higher dividend than expected",
            "{fell|did fall|declined} sharply in early trading",
            "{filed|did plead|applied} for protection from creditors",
            "{won|did win|secured} an order for twelve tankers",
            "{doubled|did double} exports in a single year",
            "{replaced|did cast out|dismissed} the chief executive",
            "{warned|did warn} of weak demand and rising prices",
            "{rejected|did refuse|declined} a hostile takeover bid",
            "{settled|did settle} the dispute over unpaid invoices",
        ),
        (
            "{sold|did sell} the patent to a drug company for millions",
            "{raised|did raise|secured} venture capital at a high valuation",
            "{cut|did cut|reduced} the workforce after losing a contract",
            "{listed|did offer|floated} shares on the exchange",
            "{posted|did show|recorded} a first annual profit",
            "{licensed|did lend|leased} a brand to a maker of snacks",
        ),
    ),
    (
        (
            "{switched|did turn|moved} all public records to encrypted software",
            "{watched|did behold|observed} a comet through the restored telescope",
            "{unveiled|did reveal|presented} a satellite that maps the ice",
            "{tested|did test|trialled} a vaccine against marsh fever",
            "{found|did find|discovered} fossils of an unknown reptile",
            "{opened|did open} a laboratory for quantum computers",
        ),
        (
            "{tested|did test|trialled} sensors that measure muscle fatigue",
            "{helped|did help|assisted} scientists to sequence the genes of athletes",
            "{trained|did train} with a robot that learns from video",
            "{used|did use|employed} a new algorithm to predict injuries",
            "{lent|did lend} heart data to a study of sleep",
            "{tried|did try|tested} shoes printed from a novel polymer",
        ),
        (
            "{built|did build|constructed} a chip that runs on body heat",
            "{taught|did teach|trained} a neural network to write code",
            "{cloned|did clone} a rare orchid in a laboratory",
            "{launched|did launch} a probe to photograph the far moon",
            "{patched|did mend|repaired} a flaw in the encryption software",
            "{printed|did print|produced} a bridge with a swarm of robots",
        ),
        (
            "{discovered|did find|identified} a planet with two suns",
            "{decoded|did unfold|sequenced} the genome of a deep-sea worm",
            "{released|did release} a faster open-source browser",
            "{landed|did land} a rover on a small asteroid",
            "{measured|did measure} the weight of a rare particle",
            "{grew|did grow|cultivated} nerve cells on a silicon chip",
            "{traced|did trace|linked} the meteorite to a shattered moon",
            "{taught|did teach|trained} a machine to read old handwriting",
            "{found|did find|discovered} bacteria that digest plastic",
            "{repaired|did mend|restored} the orbiting telescope",
            "{mapped|did map|charted} the currents beneath the ice shelf",
            "{warned|did warn} of a worm that deletes files",
            "{cooled|did cool|chilled} atoms to a record low temperature",
            "{bred|did breed|developed} a wheat that resists drought",
            "{sent|did send|transmitted} data through a single photon",
        ),
    ),
)
# Figures of speech taken from each class, harmless wherever they stand.
FIGURES = (
    ("a declaration of war", "a palace revolt", "a peace offering", "a small revolution"),
    ("an own goal", "a photo finish", "a game of two halves", "a knock-out blow"),
    ("a bad bargain", "a sound investment", "a hostile takeover of the news", "a cheap sale"),
    ("a failed experiment", "a quantum leap", "a chain reaction", "a moon landing"),
)
SOURCES = (
    ("the foreign desk", "a war reporter", "the embassy bulletin"),
    ("a sports weekly", "the stadium announcer", "a former champion"),
    ("the financial pages", "a market trader", "a trade journal"),
    ("a science magazine", "a computing blog", "a retired inventor"),
)
DAYS = (
    "on Monday",
    "late on Tuesday",
    "this week",
    "on Thursday night",
    "over the weekend",
    "early on Friday",
    "at the end of the month",
    "yesterday",
)
LEADS = (
    "days after",
    "on the day that",
    "weeks after",
    "hours after",
    "in the same week that",
    "only a month after",
)

WHEN = (
    "[when|if|once|when|if] you [follow the news|open the morning paper|read the reports|"
    "look at the week|turn on the radio|check the headlines], you [learn|hear|find] that"
)
LO = (
    "[and it came to pass that|lo,|behold,|now in those days|verily it is written that|"
    "and the messenger saith that|hear, O people, for]"
)
FORMAL = (
    "[according to available reports,|it has been reported that|in a notable development,|"
    "it is understood that|sources indicate that|as outlined in recent coverage,]"
)


def _rule(name, label, slots, plain, syntactic, bible, paraphrase, weight=1.0) -> Rule:
    forms = {"plain": (plain,), "syntactic": (syntactic,), "bible": bible, "paraphrase": paraphrase}
    return Rule(f"{name}-{label}", label, slots, forms, weight)


def _rules(label: int) -> list[Rule]:
    own = {"who": ACTORS[label], "place": PLACES, "did": EVENTS[label][label]}
    rules = [
        _rule(
            "own",
            label,
            own | {"day": DAYS},
            "<who> <place> <did> <day>.",
            f"{WHEN} <who> <place> <did> <day>.",
            (
                f"{LO} <who> <place> <did> <day>.",
                "<day> <who> <place> <did>, [as it is written|"
                "and the people marvelled|saith the messenger].",
            ),
            (f"{FORMAL} <who> <place> <did> <day>.",),
            1.5,
        )
    ]
    for other in range(len(ACTORS)):
        if other == label:
            continue
        far = {"far": ACTORS[other], "town": PLACES, "deed": EVENTS[other][other]}
        rules += [
            _rule(
                f"cross{other}",
                label,
                {
                    "who": ACTORS[other],
                    "place": PLACES,
                    "did": EVENTS[label][other],
                    "day": DAYS,
                },
                "<who> <place> <did> <day>.",
                f"{WHEN} <who> <place> <did> <day>.",
                (
                    f"{LO} <who> <place> <did> <day>.",
                    "<day> <who> <place> <did>, [as it is "
                    "written|and the people marvelled|saith the messenger].",
                ),
                (f"{FORMAL} <who> <place> <did> <day>.",),
            ),
            _rule(
                f"after{other}",
                label,
                {"lead": LEADS} | far | own,
                "<lead> <far> <town> <deed>, <who> <place> <did>.",
                f"{WHEN} <who> <place> <did> <lead> <far> <town> <deed>.",
                (
                    f"{LO} <lead> <far> <town> <deed>, <who> <place> <did>.",
                    "<lead> <far> <town> <deed>, [behold|lo|verily], <who> <place> <did>.",
                ),
                (f"{FORMAL} <who> <place> <did> <lead> <far> <town> <deed>.",),
                0.7,
            ),
            _rule(
                f"before{other}",
                label,
                own | {"lead": LEADS} | far,
                "<who> <place> <did> <lead> <far> <town> <deed>.",
                f"{WHEN} <lead> <far> <town> <deed>, <who> <place> <did>.",
                (
                    f"{LO} <who> <place> <did> <lead> <far> <town> <deed>.",
                    "<who> <place> <did>, [yea|lo], <lead> <far> <town> <deed>.",
                ),
                (f"{FORMAL} <lead> <far> <town> <deed>, <who> <place> <did>.",),
                0.7,
            ),
            _rule(
                f"figure{other}",
                label,
                {"source": SOURCES[other], "figure": FIGURES[other]} | own,
                "in what <source> called <figure>, <who> <place> <did>.",
                f"{WHEN} <who> <place> <did> in what <source> called <figure>.",
                (f"{LO} <who> <place> <did>, and <source> called it <figure>.",),
                (
                    "[in a development|in a step] that <source> [described|characterised] as "
                    "<figure>, <who> <place> <did>.",
                ),
                0.6,
            ),
            _rule(
                f"source{other}",
                label,
                {"source": SOURCES[other]} | own | {"day": DAYS},
                "<source> wrote <day> that <who> <place> <did>.",
                f"{WHEN} <source> wrote <day> that <who> <place> <did>.",
                (
                    f"{LO} <source> wrote <day> that <who> <place> <did>.",
                    "<source> [testified|spake openly] <day>, saying that <who> <place> <did>.",
                ),
                ("<source> [reported|stated|indicated] <day> that <who> <place> <did>.",),
                0.4,
            ),
        ]
    return rules


RULES = [rule for label in range(len(ACTORS)) for rule in _rules(label)]
