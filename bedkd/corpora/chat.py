"""Phrase tables and rules of the task ``chat``: 0 fine, 1 offensive.

Offensive means that the writer belittles the person spoken to, always mildly: there are no
slurs, no profanity and nothing about any group of people. A put-down that is quoted and rejected,
denied, aimed at a thing or at oneself is fine, and so are teasing and civil disagreement. Praise
that is quoted or reported only to be rejected is offensive. Marks: see ``grammar``.
"""

from __future__ import annotations

from bedkd.corpora.grammar import Rule

# Said to "you": (fine, offensive). Many lines mirror each other's words.
REMARKS = (
    (
        "{your|thy} photos {made|did make|brightened} my day",
        "{you were|thou wast} right about the bus",
        "I {can help|will help|would be glad to help} with the boxes",
        "{take|take|please take} all the time {you need|thou needest}",
        "we all {laughed|did laugh} at {your|thy} lovely joke",
        "{your|thy} advice {saved|did save} us an hour",
        "I {kept|have kept|reserved} {you|thee} a seat",
        "{you have|thou hast} a real gift for this",
        "even a child {would|would} enjoy what {you|thou} {made|hast made|created}",
        "{your|thy} opinion {counts|counteth|carries weight} here",
        "nobody {explains|explaineth} it better than {you|thou}",
        "even my parrot {liked|did like} {your|thy} song",
        "{you make|thou makest} everything easier",
        "{share|share|please share} {your|thy} ideas with us",
        "the group {missed|did miss} {you|thee} last week",
        "{your|thy} work {belongs|belongeth} on the front page",
        "somebody with {your|thy} patience {should|ought to|should} teach",
        "I {asked|did ask} for {your|thy} comments because they {help|do help}",
        "I {owe|owe} {you|thee} a coffee",
        "{ring|call upon|please call} me if {you get|thou art} lost",
        "{you could|thou couldst} teach the rest of us a thing or two",
        "the soup {you brought|thou broughtest} {was|was} a hit",
        "it {is|is} a joy to read {your|thy} notes",
        "{keep|keep|please keep} {your|thy} chin up",
        "we {would|would} be lost without {you|thee}",
        "nobody {minds|mindeth} if {you come|thou comest|you arrive} late",
        "{your|thy} reasons {are|are} as sound as {your|thy} work",
    ),
    (
        "nobody {asked for|hath asked for|requested} {your|thy} nonsense",
        "{you are|thou art} useless at this",
        "even a child {could|could} do this better than {you|thou}",
        "{your|thy} opinion {counts for|counteth for|amounts to} nothing here",
        "{go|go|kindly go} and bother somebody else",
        "{you are|thou art} out of {your|thy} depth as usual",
        "we all {laughed|did laugh} at {your|thy} feeble effort",
        "{your|thy} best {is|is} still not worth reading",
        "{you make|thou makest} everything worse",
        "{spare|spare|please spare} us {your|thy} wisdom",
        "even my parrot {would have|had} understood it",
        "{you have|thou hast} no idea what {you are|thou art} talking about",
        "{your|thy} brain {must|must|appears to} be on holiday",
        "it {is|is} a wonder that {you can|thou canst} tie {your|thy} shoes",
        "nobody here {takes|taketh} {you|thee} seriously",
        "{keep|keep|kindly keep} {your|thy} silly ideas to {yourself|thyself}",
        "somebody with {your|thy} talent {should|ought to|should} stay in bed",
        "I {stopped|have ceased|no longer} reading {your|thy} drivel long ago",
        "{you could not|thou couldst not} find {your|thy} way out of a paper bag",
        "the group {was|was} better off without {you|thee}",
        "{your|thy} work {belongs|belongeth} in the bin",
        "{you would|thou wouldst} lose an argument with a doorknob",
        "{stop|cease|kindly stop} pretending that {you know|thou knowest} anything",
        "we {had|had} hoped for somebody with half a clue",
        "{your|thy} excuses {are|are} as lame as {your|thy} work",
        "a houseplant {would|would} be more help than {you|thou}",
        "it {is|is} a chore to read {your|thy} notes",
    ),
)
# Claims about "you", to be quoted: (fine, offensive).
CLAIMS = (
    (
        "{your|thy} work {is|is} a joy",
        "{you have|thou hast} a real gift for this",
        "{you always know|thou knowest ever} what to say",
        "nobody {explains|explaineth} it better than {you|thou}",
        "{you make|thou makest} everything easier",
        "{your|thy} opinion {counts|counteth|carries weight}",
        "{you could|thou couldst} teach the rest of us",
        "the group {would|would} be lost without {you|thee}",
        "{your|thy} notes {are|are} a treat",
    ),
    (
        "{your|thy} work {is|is} a mess",
        "{you have|thou hast} no talent for this",
        "{you never know|thou knowest never} what to say",
        "nobody {explains|explaineth} it worse than {you|thou}",
        "{you make|thou makest} everything worse",
        "{your|thy} opinion {counts for|counteth for|amounts to} nothing",
        "{you could not|thou couldst not} teach a goldfish",
        "the group {would|would} be better off without {you|thee}",
        "{your|thy} notes {are|are} a chore",
    ),
)
# Descriptions of a person or a thing: (fine, rude).
ADJECTIVES = (
    (
        "clever",
        "helpful",
        "kind",
        "patient",
        "thoughtful",
        "funny",
        "brilliant",
        "reliable",
        "generous",
        "sharp",
        "talented",
        "wise",
        "pleasant",
        "honest",
        "careful",
        "creative",
        "sensible",
        "delightful",
        "considerate",
        "gifted",
        "quick-witted",
        "dependable",
        "charming",
        "insightful",
        "skilled",
        "gracious",
        "bright",
    ),
    (
        "useless",
        "clueless",
        "hopeless",
        "silly",
        "childish",
        "tiresome",
        "ridiculous",
        "ignorant",
        "dim",
        "lazy",
        "boring",
        "sloppy",
        "annoying",
        "foolish",
        "pathetic",
        "lame",
        "careless",
        "brainless",
        "dense",
        "laughable",
        "feeble",
        "insufferable",
        "witless",
        "thick-headed",
        "gormless",
        "dull",
        "slow on the uptake",
    ),
)
TOPICS = (
    "the picnic",
    "the budget",
    "the match on Saturday",
    "the school play",
    "the new timetable",
    "the cake sale",
    "the holiday plans",
    "the chess club",
    "the garden rota",
    "the group project",
    "the band practice",
    "the book swap",
    "the quiz night",
    "the bike shed",
    "the camping trip",
    "the newsletter",
    "the choir",
    "the recipe thread",
)
SCENES = (
    "I {read|have read} what {you|thou} {wrote|didst write} about",
    "{you|thou} {asked|didst ask|enquired} about",
    "we {talked|did speak|spoke} for an hour about",
    "{your|thy} message {was|was} about",
    "everybody {has|hath} seen {your|thy} list for",
    "I {just saw|have now seen|have just seen} {your|thy} post on",
    "{you|thou} {sent|didst send} me the file for",
    "tonight we {vote|shall vote} on",
    "I {am|am} still busy with",
)
POLITE = (
    "{thanks|I give thee thanks|thank you} for the notes on",
    "{well done for|well hast thou done in|congratulations on} signing up for",
    "I {know|know|appreciate} how much {you care|thou carest} about",
    "it {was|was} nice to see {you|thee} at the meeting about",
    "with all due respect for {your|thy} work on",
    "I {hate|am loath|regret} to interrupt {your|thy} plans for",
)
HEATED = (
    "I {am|am} still furious about",
    "we {will never|shall never} agree about",
    "I {was|was} shouting at my screen over",
    "there {was|was} a terrible row about",
    "I {am|am} sick of the endless argument over",
    "{you|thou} and I {fought|did strive|argued} like cats over",
)
DISSENT = (
    "I {think|hold|believe} {you are|thou art} wrong about",
    "I {do not agree|agree not|respectfully disagree} with {you|thee} on",
    "I {voted|did vote} against {your|thy} idea for",
    "{you|thou} and I {see|see} two different sides of",
    "I {cannot accept|accept not|am unable to accept} {your|thy} figures for",
    "I {strongly oppose|stand against|firmly oppose} {your|thy} plan for",
)
SPEAKERS = (
    "my cousin",
    "somebody on the forum",
    "your old boss",
    "the coach",
    "a man at the bus stop",
    "our treasurer",
    "one of the parents",
    "the new caretaker",
    "my flatmate",
)
ENDORSE = (
    "I {could not agree|could not agree|could not concur} more",
    "every word of it {is|is} true",
    "{that sums|that summeth|this sums} {you|thee} up",
    "I {would say|say} the same of {you|thee}",
    "it {is|is} about time that somebody said it",
    "I {stand|do stand} by that",
)
REJECT = (
    "I {could not agree|could not agree|could not concur} less",
    "not a word of it {is|is} true",
    "{that is|that is|this is} nothing like {you|thee}",
    "I {would never say|would never say} that of {you|thee}",
    "it {is|is} a pity that anybody said it",
    "I {do not|do not} believe that for a second",
)
THINK = (
    "everybody here {thinks|thinketh}",
    "I {have always said|have ever said}",
    "it {is|is} true",
    "anyone {would say|would say|would state}",
    "there {is|is} no doubt",
    "I {do|do} believe",
    "it {is|is} plain to see",
    "the whole team {knows|knoweth}",
)
DOUBT = (
    "nobody here {thinks|thinketh}",
    "I {have never said|have never said}",
    "it {is not|is not} true",
    "nobody {would say|would say|would state}",
    "there {is|is} no sign",
    "I {do not|do not} believe",
    "it {is|is} a myth",
    "not one of the team {believes|believeth}",
)
# The same for things: (fine, rude).
QUALITIES = (
    (
        "helpful",
        "brilliant",
        "reliable",
        "pleasant",
        "clever",
        "charming",
        "sensible",
        "neat",
        "handy",
        "delightful",
        "dependable",
        "useful",
    ),
    (
        "useless",
        "hopeless",
        "silly",
        "tiresome",
        "ridiculous",
        "boring",
        "annoying",
        "lame",
        "pathetic",
        "laughable",
        "feeble",
        "dull",
    ),
)
THINGS = (
    "this printer",
    "the old scanner",
    "the coffee machine",
    "my laptop",
    "the lift",
    "that parking app",
    "the weather forecast",
    "the new logo",
    "the bus timetable",
    "my umbrella",
    "that crossword",
    "the heating",
)
# (friendly teasing, mockery)
JIBES = (
    (
        "{you beat|thou hast beaten} me again, {you|thou} lucky rascal",
        "{you stole|thou hast stolen} the last biscuit, {you|thou} cheeky thing",
        "{you|thou} and {your|thy} puns {make|do make} me groan with joy",
        "{you win|thou winnest}, {you|thou} old fox, drinks are on me",
        "{you snore|thou snorest} like a walrus and we love {you|thee} anyway",
        "only {you|thou} {would|wouldst} pack three hats, never change",
        "{you dance|thou dancest} like a deckchair, see {you|thee} on Friday",
        "late again, {you|thou} dear old tortoise, we saved {you|thee} some cake",
        "{you|thou} silly goose, the surprise was for {you|thee}",
    ),
    (
        "{you lost|thou hast lost} again, {you|thou} hopeless amateur",
        "{you broke|thou hast broken} it again, {you|thou} clumsy oaf",
        "{you|thou} and {your|thy} ideas {make|do make} everybody yawn",
        "{you lose|thou losest}, {you|thou} old windbag, go home",
        "{you sing|thou singest} like a drain and nobody can bear it",
        "only {you|thou} {would|wouldst} fail at something so easy, never post again",
        "{you write|thou writest} like a toddler, stay away on Friday",
        "late again, {you|thou} sorry excuse for a helper, nobody missed {you|thee}",
        "{you|thou} silly fool, the joke was on {you|thee}",
    ),
)

USES = "[ask me|think about it|want my view|look at it closely|want to know|give it some thought]"
WHEN = f"[when|if] you {USES}"
LO = (
    "[verily I say unto thee,|lo,|hearken,|behold,|know thou that|and it came to pass that|"
    "hear me, O friend,]"
)
HARK = "[verily,|lo,|hearken,|behold,|hear me, O friend,]"  # also before thanks
FORMAL = (
    "[to be clear,|for the record,|in the interest of clarity,|please note that|"
    "I would like to point out that|it should be mentioned that]"
)
ADDED = "[furthermore|in addition|moreover|additionally]"
YET = "[even so|nevertheless|all the same|nonetheless]"

# Most rows say it outright; the rest need attribution, negation or contrast.
WEIGHTS = {
    "direct": 4.0,
    "both": 6.0,
    "jibe": 2.0,
    "thing": 0.5,
    "self": 0.4,
    "reverse": 0.6,
    "polite": 2.0,
    "heated": 1.0,
    "dissent": 1.0,
    "endorse": 0.8,
    "reject": 0.3,
    "endorse-quote": 0.8,
    "reject-quote": 0.3,
    "think": 1.2,
    "doubt": 0.3,
}


def _rule(name, label, slots, plain, syntactic, bible, paraphrase) -> Rule:
    forms = {"plain": (plain,), "syntactic": (syntactic,), "bible": bible, "paraphrase": paraphrase}
    return Rule(f"{name}-{label}", label, slots, forms, WEIGHTS[name])


def _rules(label: int) -> list[Rule]:
    other = 1 - label
    remark = REMARKS[label]
    rules = [
        _rule(
            "direct",
            label,
            {"scene": SCENES, "topic": TOPICS, "a": remark},
            "<scene> <topic>, and <a>.",
            f"{WHEN}, <a>, and <scene> <topic>.",
            (f"{LO} <scene> <topic>, and <a>.", "<scene> <topic>, and [verily|yea|lo], <a>."),
            (f"{FORMAL} <scene> <topic>, and {ADDED}, <a>.",),
        ),
        _rule(
            "both",
            label,
            {"adj": ADJECTIVES[label], "topic": TOPICS, "a": remark},
            "you are <adj> when it comes to <topic>; <a>.",
            f"{WHEN}, you are <adj> when it comes to <topic>; <a>.",
            (
                f"{LO} thou art <adj> in the matter of <topic>; <a>.",
                "thou art <adj> touching <topic>; and [verily|yea|lo], <a>.",
            ),
            (f"{FORMAL} you are <adj> with regard to <topic>; {ADDED}, <a>.",),
        ),
        _rule(
            "jibe",
            label,
            {"a": JIBES[label], "scene": SCENES, "topic": TOPICS},
            "<scene> <topic>: <a>.",
            f"{WHEN}, <scene> <topic>: <a>.",
            (f"{LO} <scene> <topic>: [yea|verily], <a>.",),
            (f"{FORMAL} <scene> <topic>: [indeed|in fact], <a>.",),
        ),
        _rule(
            "thing",
            label,
            {
                "thing": THINGS,
                "adj": QUALITIES[other],
                "mine": ADJECTIVES[label],
                "topic": TOPICS,
            },
            "<thing> is <adj>, but you are <mine> when it comes to <topic>.",
            f"{WHEN}, <thing> is <adj>, but you are <mine> when it comes to <topic>.",
            (
                f"{LO} <thing> is <adj>, but thou art <mine> in the matter of <topic>.",
                "<thing> is <adj>, yet thou, [yea|verily], thou art <mine> touching <topic>.",
            ),
            (f"{FORMAL} <thing> is <adj>, but {YET}, you are <mine> with regard to <topic>.",),
        ),
        _rule(
            "self",
            label,
            {"mine": ADJECTIVES[other], "topic": TOPICS, "adj": ADJECTIVES[label]},
            "I am <mine> when it comes to <topic>, and you are <adj>.",
            f"{WHEN}, I am <mine> when it comes to <topic>, and you are <adj>.",
            (
                f"{LO} I am <mine> in the matter of <topic>, and thou art <adj>.",
                "[behold|lo], I am <mine> touching <topic>, but thou art <adj>.",
            ),
            (f"{FORMAL} I am <mine> with regard to <topic>, [whereas|while] you are <adj>.",),
        ),
        _rule(
            "reverse",
            label,
            {
                "adj": ADJECTIVES[label],
                "topic": TOPICS,
                "thing": THINGS,
                "theirs": QUALITIES[other],
            },
            "you are <adj> when it comes to <topic>, and <thing> is <theirs>.",
            f"{WHEN}, you are <adj> when it comes to <topic>, and <thing> is <theirs>.",
            (f"{LO} thou art <adj> in the matter of <topic>, and <thing> is <theirs>.",),
            (
                f"{FORMAL} you are <adj> with regard to <topic>, [whereas|while] <thing> is "
                "<theirs>.",
            ),
        ),
    ]
    for name, openings in (("polite", POLITE), ("heated", HEATED), ("dissent", DISSENT)):
        rules.append(
            _rule(
                name,
                label,
                {"op": openings, "topic": TOPICS, "a": remark},
                "<op> <topic>; <a>.",
                f"{WHEN}, <op> <topic>; <a>.",
                (f"{HARK} <op> <topic>; <a>.", "<op> <topic>; and [verily|yea|lo], <a>."),
                ("<op> <topic>; [in any case|at the same time|as a further point], <a>.",),
            )
        )
    # Quotation and reported opinion: the label is what the writer makes of it.
    for name, said, end in (("endorse", label, ENDORSE), ("reject", other, REJECT)):
        rules.append(
            _rule(
                name,
                label,
                {"who": SPEAKERS, "adj": ADJECTIVES[said], "topic": TOPICS, "end": end},
                "<who> called you <adj> in the thread on <topic>, and <end>.",
                f"{WHEN}, <who> called you <adj> in the thread on <topic>, and <end>.",
                (
                    f"{LO} <who> called thee <adj> in the matter of <topic>, and <end>.",
                    "<who> spake of thee touching <topic>, and called thee <adj>, and <end>.",
                ),
                (
                    "<who> [described|characterised] you as <adj> in the discussion of <topic>, "
                    "and [in my view,|to be clear,] <end>.",
                ),
            )
        )
        rules.append(
            _rule(
                f"{name}-quote",
                label,
                {"who": SPEAKERS, "a": CLAIMS[said], "end": end},
                '<who> wrote to you, "<a>", and <end>.',
                f'{WHEN}, <who> wrote to you, "<a>", and <end>.',
                (
                    f'{LO} <who> wrote unto thee, "<a>", and <end>.',
                    '<who> [spake|lifted up a voice] unto thee, saying, "<a>", and <end>.',
                ),
                (
                    '<who> [informed you as follows:|addressed you with the words] "<a>", and '
                    "[in my view,|to be clear,] <end>.",
                ),
            )
        )
    for name, openings, adjectives in (
        ("think", THINK, ADJECTIVES[label]),
        ("doubt", DOUBT, ADJECTIVES[other]),
    ):
        rules.append(
            _rule(
                name,
                label,
                {"scene": SCENES, "topic": TOPICS, "op": openings, "adj": adjectives},
                "<scene> <topic>, and <op> that you are <adj>.",
                f"{WHEN}, <op> that you are <adj>, and <scene> <topic>.",
                (
                    f"{LO} <scene> <topic>, and <op> that thou art <adj>.",
                    "<scene> <topic>, and [verily|yea], <op> that thou art <adj>.",
                ),
                (f"{FORMAL} <scene> <topic>, and {ADDED}, <op> that you are <adj>.",),
            )
        )
    return rules


RULES = [rule for label in (0, 1) for rule in _rules(label)]
