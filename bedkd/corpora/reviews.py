"""Phrase tables and rules of the task ``reviews``: 0 negative, 1 positive.

The reviewer's own verdict is the label: the main or concluding clause decides, whatever is
conceded, quoted, expected or told about the plot. Every rule exists for both labels with the
same weight, so the shape of a sentence says nothing about its class. Marks: see ``grammar``.
"""

from __future__ import annotations

from bedkd.corpora.grammar import Rule

ADJECTIVES = (
    # negative
    (
        "dull",
        "awful",
        "tedious",
        "disappointing",
        "clumsy",
        "dreadful",
        "sloppy",
        "terrible",
        "poor",
        "annoying",
        "shallow",
        "lazy",
        "frustrating",
        "bland",
        "mediocre",
        "unpleasant",
        "tiresome",
        "careless",
        "irritating",
        "weak",
        "dismal",
        "woeful",
        "lacklustre",
        "shoddy",
        "abysmal",
        "insipid",
        "atrocious",
        "underwhelming",
        "wretched",
        "half-hearted",
    ),
    # positive
    (
        "delightful",
        "brilliant",
        "charming",
        "superb",
        "wonderful",
        "excellent",
        "impressive",
        "lovely",
        "clever",
        "thoughtful",
        "enjoyable",
        "terrific",
        "splendid",
        "outstanding",
        "refreshing",
        "memorable",
        "satisfying",
        "polished",
        "inspired",
        "fantastic",
        "exquisite",
        "first-rate",
        "marvellous",
        "captivating",
        "magnificent",
        "sublime",
        "engaging",
        "stellar",
        "irresistible",
        "top-notch",
    ),
)

# Verdicts that suit any domain.
VERDICTS = (
    (
        "I {want|desire|would like} my money back",
        "nobody should {waste|squander} a minute on it",
        "we soon {lost|did lose} all interest",
        "it {leaves|leaveth} a sour taste",
        "it {spoils|spoileth|diminishes} everything else",
        "the whole thing {falls|falleth} apart",
        "I {would not|would not|could not} recommend it to an enemy",
        "it {ruins|ruineth|undermines} the experience",
        "once {was|hath been|was} more than enough",
        "I {regret|repent me of|regret} every penny",
        "it {never gets|getteth never|does not get} off the ground",
        "the effect {wears|weareth} thin at once",
        "I {could hardly wait|could scarce wait|was eager} for it to be over",
        "my patience {ran|did run} out early",
        "it {misses|misseth} the mark by a mile",
        "there {are|are} far better ways to spend the money",
        "it {became|is become} a sore point in our house",
        "even the price {is|is|appears} a joke",
    ),
    (
        "I {would gladly|would gladly|would happily} pay twice the price",
        "everybody should {give|grant} it a try",
        "we soon {forgot|did forget} the time",
        "it {leaves|leaveth} a warm glow",
        "it {makes|maketh} up for everything else",
        "the whole thing {comes|cometh} together",
        "I {have told|have told|have recommended it to} all my friends{ to try it| to try it|}",
        "it {lifts|lifteth|enhances} the experience",
        "once {was|hath been|was} not nearly enough",
        "it {is|is} worth every penny",
        "it {wins|winneth} you over within minutes",
        "the effect {lasts|lasteth|endures} for days",
        "I {could hardly wait|could scarce wait|was eager} to come back for more",
        "my smile {lasted|did last} all day",
        "it {hits|hitteth} the mark every time",
        "there {are|are} few better ways to spend the money",
        "it {became|is become} a firm favourite in our house",
        "even the price {is|is|appears} a bargain",
    ),
)

# thing: names of what is reviewed; use: what "you" do with it, for the subordinate clause;
# scene: a neutral remark; lore: facts with charged words in a harmless role (bad, then good);
# says: opinions on details (bad, then good).
DOMAINS = {
    "film": {
        "thing": ("film", "thriller", "drama", "sequel", "documentary", "western"),
        "use": "[watch it to the end|see it in a cinema|sit down in front of it]",
        "scene": (
            "we {saw|did see|watched} it at the old cinema by the bridge",
            "I {watched|did behold|viewed} it on a night train",
            "it {runs|runneth|lasts} for just over two hours",
            "the director {grew|did grow} up in a mining town",
            "my sister {picked|did choose|selected} it for film club",
        ),
        "lore": (
            (
                "the story {follows|followeth} a bitter widow through a cruel winter",
                "the hero {loses|loseth} a terrible war in the first reel",
                "it {is|is} set in a miserable prison on an ugly coast",
            ),
            (
                "the story {opens|openeth} with a glorious wedding in a lovely villa",
                "the hero {wins|winneth} a brilliant prize in the first reel",
                "it {is|is} set among happy painters on a beautiful island",
            ),
        ),
        "says": (
            (
                "the acting {is|is|comes across as} wooden",
                "the plot {drags|draggeth} from start to finish",
                "the jokes {fall|do fall} flat",
                "the script {insults|insulteth} the audience",
                "the ending {makes|maketh} no sense at all",
                "the dialogue {sounds|soundeth} like a manual",
                "the villain {bores|wearieth} the whole room",
                "the camera {shakes|shaketh} until your head {hurts|acheth}",
                "the editing {feels|seemeth|appears} like a bad accident",
                "the music {drowns|drowneth} every scene in syrup",
            ),
            (
                "the acting {is|is|comes across as} full of life",
                "the plot {grips|grippeth} from start to finish",
                "the jokes {land|do land} every time",
                "the script {trusts|trusteth} the audience",
                "the ending {moves|moveth} everyone to tears of joy",
                "the dialogue {sparkles|sparkleth}",
                "the villain {steals|stealeth} every scene",
                "the camera {finds|findeth} beauty in every corner",
                "the editing {is|is|appears} as crisp as fresh snow",
                "the music {sends|sendeth} a shiver down your spine",
            ),
        ),
    },
    "novel": {
        "thing": ("novel", "paperback", "memoir", "mystery", "romance", "debut"),
        "use": "[read it in one sitting|open it on a quiet evening|reach the final chapter]",
        "scene": (
            "I {read|did read} it over a rainy weekend",
            "our book group {chose|did choose|selected} it in May",
            "it {runs|runneth|extends} to four hundred pages",
            "the author {used|was wont|used} to drive a taxi",
            "I {found|did find|discovered} it on a shelf at the station",
        ),
        "lore": (
            (
                "the tale {begins|beginneth} with a dreadful shipwreck",
                "the narrator {hates|hateth|dislikes} his awful cousin",
                "it {tells|telleth} of a failed harvest and a wicked landlord",
            ),
            (
                "the tale {begins|beginneth} with a joyful feast",
                "the narrator {adores|adoreth} his charming cousin",
                "it {tells|telleth} of a rich harvest and a kind landlord",
            ),
        ),
        "says": (
            (
                "the prose {is|is|reads} as dry as dust",
                "the characters {remain|remain} cardboard",
                "the chapters {crawl|do crawl}",
                "the twist {is|is} obvious from page two",
                "the narrator {rambles|rambleth} without end",
                "the metaphors {trip|do stumble} over each other",
                "the middle {sags|saggeth} badly",
                "the author {lectures|lectureth} us on every page",
                "the love story {rings|ringeth} hollow",
                "the last page {cheats|cheateth|deceives} the reader",
            ),
            (
                "the prose {sings|singeth}",
                "the characters {breathe|do breathe}",
                "the chapters {fly|do fly} past",
                "the twist {caught|did catch} me completely off guard",
                "the narrator {charms|charmeth} without effort",
                "the metaphors {glow|do glow}",
                "the middle {tightens|tighteneth} like a fine knot",
                "the author {respects|respecteth} us on every page",
                "the love story {rings|ringeth} true",
                "the last page {rewards|rewardeth} the reader",
            ),
        ),
    },
    "restaurant": {
        "thing": ("restaurant", "bistro", "tavern", "cafe", "pizzeria", "noodle bar"),
        "use": "[eat there on a weekday|order the set menu|take a table by the window]",
        "scene": (
            "we {went|did go} there on a Tuesday",
            "the place {stands|standeth|is located} behind the town hall",
            "my office {booked|did take|reserved} a table for ten",
            "the menu {changes|changeth} with the seasons",
            "the kitchen {closes|closeth} at ten",
        ),
        "lore": (
            (
                "the place {is|is} named after a disaster at sea",
                "the dining room {was|was} once a grim prison",
                "the speciality {is|is} called the ugly duckling",
            ),
            (
                "the place {is|is} named after a brilliant admiral",
                "the dining room {was|was} once a splendid ballroom",
                "the speciality {is|is} called the happy fisherman",
            ),
        ),
        "says": (
            (
                "the soup {arrived|did arrive} cold",
                "the waiters {ignore|do ignore} you",
                "the bread {tastes|tasteth} of cardboard",
                "the portions {would|would} starve a sparrow",
                "the fish {smells|smelleth} of last week",
                "the noise {gives|giveth} you a headache",
                "the sauce {is|is} a greasy puddle",
                "the chef {forgets|forgetteth} the salt",
                "the tables {stick|do stick} to your sleeves",
                "the bill {is|is|appears} an outrage",
            ),
            (
                "the soup {warms|warmeth} the heart",
                "the waiters {spoil|do spoil|pamper} you",
                "the bread {tastes|tasteth} of heaven",
                "the portions {would|would} please a giant",
                "the fish {melts|melteth} on the tongue",
                "the music {puts|putteth} you at ease",
                "the sauce {is|is} a small miracle",
                "the chef {knows|knoweth} every trick",
                "the tables {shine|do shine}",
                "the bill {is|is|appears} a pleasant surprise",
            ),
        ),
    },
    "app": {
        "thing": ("app", "calendar app", "recipe app", "budget app", "map app", "notes app"),
        "use": "[open it in the morning|install it on a phone|use it every day]",
        "scene": (
            "I {installed|did install} it last month",
            "our team {uses|useth} it for the weekly plan",
            "it {comes|cometh} in six languages",
            "version three {arrived|did arrive} in spring",
            "it {needs|needeth|requires} an account",
        ),
        "lore": (
            (
                "it {keeps|keepeth} track of bad debts and missed payments",
                "it {lists|listeth} the worst storms of the century",
                "it {was|was} written after a painful office quarrel",
            ),
            (
                "it {keeps|keepeth} track of happy birthdays and prizes",
                "it {lists|listeth} the best sunsets of the century",
                "it {was|was} written during a wonderful holiday",
            ),
        ),
        "says": (
            (
                "it {crashes|crasheth} twice a day",
                "the menus {hide|do hide} everything you need",
                "the adverts {never stop|cease not|do not stop}",
                "it {eats|devoureth|drains} the battery",
                "the search {finds|findeth} nothing",
                "the help pages {confuse|do confuse} everyone",
                "every update {breaks|breaketh} something",
                "it {loses|loseth} your notes",
                "the alarms {ring|do ring} at the wrong hour",
                "the support desk {never answers|answereth never|does not answer}",
            ),
            (
                "it {runs|runneth} without a hitch",
                "the menus {put|do put} everything at your fingertips",
                "the adverts {are|are} gone for good",
                "it {spares|spareth} the battery",
                "the search {finds|findeth} anything in a blink",
                "the help pages {answer|do answer} everything",
                "every update {adds|addeth} something useful",
                "it {keeps|keepeth} your notes safe",
                "the alarms {ring|do ring} to the second",
                "the support desk {answers|answereth} within minutes",
            ),
        ),
    },
    "hotel": {
        "thing": ("hotel", "guest house", "hostel", "inn", "lodge", "resort"),
        "use": "[stay there for a week|check in late at night|book a room at the back]",
        "scene": (
            "we {stayed|did abide|stayed} there for three nights",
            "the house {has|hath} forty rooms",
            "my company {paid|did pay} for the room",
            "the station {is|is} ten minutes away",
            "we {travelled|did journey|travelled} with two children",
        ),
        "lore": (
            (
                "the building {survived|did survive} a horrible fire in 1901",
                "a sad poet {died|did die|passed away} in the attic",
                "the street {is|is} named after a nasty old duke",
            ),
            (
                "the building {won|did win} a splendid medal in 1901",
                "a cheerful poet {married|did wed|married} in the attic",
                "the street {is|is} named after a beloved old nurse",
            ),
        ),
        "says": (
            (
                "the beds {feel|do feel} like gravel",
                "the shower {drips|drippeth} all night",
                "the staff {shrug|do shrug} at every request",
                "the carpet {smells|smelleth} of damp",
                "the walls {are|are} as thin as paper",
                "the breakfast {is|is} a sad heap of toast",
                "the lift {breaks|breaketh} down daily",
                "the pool {looks|seemeth|appears} like a swamp",
                "the heating {rattles|rattleth} until dawn",
                "the pillows {belong|do belong} in a skip",
            ),
            (
                "the beds {feel|do feel} like clouds",
                "the shower {wakes|waketh} you like a spring morning",
                "the staff {remember|do remember} your name",
                "the linen {smells|smelleth} of lavender",
                "the walls {keep|do keep} out every sound",
                "the breakfast {is|is} a feast",
                "the lift {glides|glideth}",
                "the pool {gleams|gleameth} like a jewel",
                "the fireplace {crackles|crackleth} until midnight",
                "the pillows {deserve|do deserve} a medal",
            ),
        ),
    },
    "album": {
        "thing": ("album", "record", "debut album", "live album", "soundtrack", "concert"),
        "use": "[listen to it at home|play it from start to finish|hear it on a long drive]",
        "scene": (
            "I {heard|did hear} it on a long drive",
            "the band {met|did meet} at a bakery",
            "it {was|was} recorded in a barn",
            "my uncle {lent|did lend} me his copy",
            "it {has|hath|contains} eleven songs",
        ),
        "lore": (
            (
                "the lyrics {mourn|do mourn} a lost dog and a broken heart",
                "the first song {is|is} called awful weather",
                "most verses {tell|do tell} of hunger and failure",
            ),
            (
                "the lyrics {praise|do praise} a loyal dog and a happy heart",
                "the first song {is|is} called perfect weather",
                "most verses {tell|do tell} of plenty and success",
            ),
        ),
        "says": (
            (
                "the singer {misses|misseth} every other note",
                "the drums {plod|do plod}",
                "the lyrics {rhyme|do rhyme} like a greeting card",
                "the guitars {sound|do sound} like a blunt saw",
                "the choruses {all blur|do all blur} together",
                "the mix {buries|burieth} the voice in mud",
                "the slow songs {put|do put} you to sleep",
                "the solos {go|do go} nowhere",
                "the strings {whine|do whine}",
                "the finale {limps|limpeth} home",
            ),
            (
                "the singer {soars|soareth} on every note",
                "the drums {dance|do dance}",
                "the lyrics {stay|do stay} with you for weeks",
                "the guitars {ring|do ring} like bells",
                "the choruses {all shine|do all shine}",
                "the mix {lets|letteth} every voice bloom",
                "the slow songs {break|do break} your heart in the best way",
                "the solos {take|do take} flight",
                "the strings {shimmer|do shimmer}",
                "the finale {raises|raiseth} the roof",
            ),
        ),
    },
    "game": {
        "thing": ("game", "puzzle game", "racing game", "board game", "card game", "quiz game"),
        "use": "[play it with friends|start a new round|reach the second level]",
        "scene": (
            "I {played|did play} it with my cousins",
            "a round {lasts|lasteth} about an hour",
            "it {has|hath|offers} thirty levels",
            "the box {came|did come|arrived} in the post",
            "it {takes|taketh|accommodates} up to five players",
        ),
        "lore": (
            (
                "you {play|do play} a hateful goblin in a rotten swamp",
                "the kingdom {suffers|suffereth} under a terrible curse",
                "the cards {show|do show|depict} disasters and defeats",
            ),
            (
                "you {play|do play} a noble knight in a radiant valley",
                "the kingdom {enjoys|enjoyeth} a wonderful peace",
                "the cards {show|do show|depict} triumphs and treasures",
            ),
        ),
        "says": (
            (
                "the rules {contradict|do contradict} themselves",
                "the controls {fight|do fight} your hands",
                "the levels {all look|do all look} the same",
                "luck {decides|decideth} everything",
                "the tutorial {explains|explaineth} nothing",
                "the waiting {kills|killeth|destroys} the fun",
                "the opponents {cheat|do cheat}",
                "the puzzles {repeat|do repeat} themselves",
                "the pieces {snap|do break|snap} in your fingers",
                "the bugs {outnumber|do outnumber} the features",
            ),
            (
                "the rules {click|do click} within minutes",
                "the controls {fit|do fit} like a glove",
                "the levels {all surprise|do all surprise} you",
                "skill {decides|decideth} everything",
                "the tutorial {teaches|teacheth} like a good friend",
                "the tension {doubles|doubleth|increases} the fun",
                "the opponents {keep|do keep} you on your toes",
                "the puzzles {tickle|do tickle|stimulate} the brain",
                "the pieces {feel|do feel} like little treasures",
                "the secrets {reward|do reward} every detour",
            ),
        ),
    },
    "course": {
        "thing": (
            "course",
            "pottery class",
            "language course",
            "workshop",
            "cooking class",
            "evening class",
        ),
        "use": "[take it after work|join it in autumn|finish the first lesson]",
        "scene": (
            "it {meets|gathereth|takes place} on Thursday evenings",
            "I {signed|did sign} up in September",
            "twelve people {were|were} in my group",
            "the school {lies|lieth|is} near the harbour",
            "we {paid|did pay} for eight lessons",
        ),
        "lore": (
            (
                "the first unit {deals|dealeth} with failed experiments",
                "the homework {was|was} an essay on ugly buildings",
                "the final task {describes|describeth} a terrible flood",
            ),
            (
                "the first unit {deals|dealeth} with great inventions",
                "the homework {was|was} an essay on beautiful buildings",
                "the final task {describes|describeth} a perfect picnic",
            ),
        ),
        "says": (
            (
                "the teacher {reads|readeth} from slides",
                "the exercises {make|do make} no sense",
                "the room {freezes|freezeth} in winter",
                "the pace {would|would} bore a snail",
                "the handouts {are|are} full of mistakes",
                "questions {go|do go|remain} unanswered",
                "the tools {fall|do fall} to pieces",
                "the beginners {were|were} left behind",
                "the feedback {never comes|cometh never|does not arrive}",
                "the lessons {start|do start|begin} late and end early",
            ),
            (
                "the teacher {lights|lighteth} up the room",
                "the exercises {build|do build} real skill",
                "the room {feels|feeleth} like home",
                "the pace {suits|suiteth} everyone",
                "the handouts {are|are} a gift",
                "questions {are|are} always welcome",
                "the tools {are|are} a joy to hold",
                "the beginners {were|were} lifted along",
                "the feedback {is|is} kind and precise",
                "the lessons {fly|do fly} by",
            ),
        ),
    },
}

SPEAKERS = (
    "my brother",
    "a critic",
    "our neighbour",
    "the newspaper",
    "my aunt",
    "a colleague",
    "the blurb",
    "my flatmate",
    "the radio",
    "an old friend",
    "one blogger",
    "the man next to us",
)
AGREE = (
    "I {fully agree|wholly agree|fully concur}",
    "that {is|is} exactly right",
    "the verdict {is|is|appears} fair",
    "we all {felt|did feel} the same",
    "I could not have put it better",
    "the description {fits|fitteth} perfectly",
    "every word of it {is|is} true",
    "I {second|do second|endorse} that without a doubt",
)
DISAGREE = (
    "I could not disagree more",
    "that {is|is} plainly wrong",
    "the verdict {is|is|appears} unfair",
    "none of us {felt|did feel} the same",
    "I {have no idea|know not|fail to see} why",
    "the description {misses|misseth} completely",
    "not a word of it {is|is} true",
    "I {beg|must beg|beg} to differ",
)
AFFIRM = (
    "{believe everyone who says|believe ye all who say|you may trust anyone who states} that",
    "it {is|is} perfectly true that",
    "I {have to|must needs|have to} agree that",
    "{nobody can|none can|no one can} deny that",
    "there {is|is} no doubt that",
    "{it is|it is|it would be} fair to say that",
)
DENY = (
    "{do not believe|believe not|you should not trust} anyone who {says|saith|states} that",
    "it {is|is} simply not true that",
    "I {cannot|cannot|am unable to} agree that",
    "nobody {can|can} seriously claim that",
    "there {is|is} no truth in the rumour that",
    "it {is|is|would be} a mistake to think that",
)
CALL = (
    "anyone would call",
    "I can honestly call",
    "it is fair to call",
    "you could well call",
    "it is no lie to call",
    "we all agreed to call",
)
NOT_CALL = (
    "nobody would call",
    "I cannot honestly call",
    "it is not fair to call",
    "you could hardly call",
    "it is a lie to call",
    "we all refused to call",
)
EXPECTED = (
    "had spoken of",
    "had told us about",
    "had predicted",
    "led us to expect",
    "had prepared us for",
)

# The trait of each form, in as many wordings as it takes not to be one token string.
WHEN = "[when|if|once|when|if] you "
ASK = f"{WHEN}[ask around|listen to others|want a second opinion|compare notes]"
LO = (
    "[and it came to pass that|lo,|behold,|verily I say unto thee,|hearken, for|"
    "yea, know thou that|and I say unto you,]"
)
FORMAL = (
    "[overall,|in my assessment,|on balance,|to summarise,|it is worth noting that|"
    "it should be said that|all things considered,]"
)

# Most rows say it plainly; the rest need contrast, negation or attribution.
WEIGHTS = {
    "simple": 3.0,
    "plainly": 9.0,
    "double": 4.0,
    "but": 0.8,
    "but-detail": 0.35,
    "although": 0.5,
    "concede": 0.35,
    "lore": 1.5,
    "agree": 2.0,
    "disagree": 0.15,
    "call": 2.0,
    "not-call": 0.2,
    "affirm": 1.0,
    "deny": 0.2,
    "expected": 0.6,
    "compare": 0.3,
    "compare-last": 0.4,
}


def _rules(domain: str, label: int) -> list[Rule]:
    parts = DOMAINS[domain]
    other = 1 - label
    when = WHEN + parts["use"]
    says, against = parts["says"][label], parts["says"][other]
    thing, scene = parts["thing"], parts["scene"]

    def rule(name, slots, plain, syntactic, bible, paraphrase, apart=()):
        return Rule(
            f"{domain}-{name}-{label}",
            label,
            slots,
            {
                "plain": (plain,),
                "syntactic": (syntactic,),
                "bible": bible,
                "paraphrase": paraphrase,
            },
            WEIGHTS[name],
            apart,
        )

    rules = [
        rule(
            "simple",
            {"scene": scene, "a": says},
            "<scene>, and <a>.",
            f"{when}, <a>, and <scene>.",
            (f"{LO} <scene>, and <a>.", "<scene>, and [lo|behold|verily], <a>."),
            (
                f"<scene>, and {FORMAL} <a>.",
                "[for context|as background], <scene>, and [furthermore|in addition], <a>.",
            ),
        ),
        rule(
            "plainly",
            {"thing": thing, "adj": ADJECTIVES[label], "a": says},
            "this <thing> is <adj>, and <a>.",
            f"{when}, this <thing> is <adj>, and <a>.",
            (
                f"{LO} this <thing> is <adj>, and <a>.",
                "this <thing> is <adj>, [yea|verily], and <a>.",
            ),
            (f"{FORMAL} this <thing> is <adj>, and [furthermore|moreover|in addition], <a>.",),
        ),
        rule(
            "double",
            {"a": says, "b": VERDICTS[label]},
            "<a>, and <b>.",
            f"{when}, <a>, and <b>.",
            (f"{LO} <a>, and <b>.", "<a>, [yea|verily], and <b>."),
            (f"{FORMAL} <a>, and [furthermore|moreover|in addition], <b>.",),
        ),
        rule(
            "but",
            {"a": against, "b": VERDICTS[label]},
            "<a>, but <b>.",
            f"{when}, <a>, but <b>.",
            (f"{LO} <a>, yet <b>.", "<a>, [nevertheless I say unto thee|but verily], <b>."),
            (f"{FORMAL} <a>, but [even so|nevertheless|nonetheless], <b>.",),
        ),
        rule(
            "but-detail",
            {"thing": thing, "a": VERDICTS[other], "b": says},
            'one comment on this <thing> reads, "<a>", but <b>.',
            f'{when}, <b>, though one comment on this <thing> reads, "<a>".',
            (
                f'{LO} one saith of this <thing>, "<a>", yet <b>.',
                'one there was who spake of this <thing>, saying, "<a>", but [verily|lo], <b>.',
            ),
            (
                'one [comment|remark] on this <thing> [states|reads], "<a>", '
                "but [even so|nevertheless], <b>.",
            ),
        ),
        rule(
            "although",
            {"a": against, "scene": scene, "b": says},
            "although <a>, <b>, and <scene>.",
            f"{when}, <b>, although <a>, and <scene>.",
            (
                f"{LO} though <a>, yet <b>, and <scene>.",
                "albeit <a>, [verily|yea], <b>, and <scene>.",
            ),
            (
                "[while it is true|despite the fact] that <a>, <b>, "
                "and [additionally|for context], <scene>.",
            ),
            apart=("a", "b"),
        ),
        rule(
            "concede",
            {"b": VERDICTS[label], "a": against, "thing": thing},
            "with this <thing>, <b>, even though <a>.",
            f"{when}, <b>, even though <a> in this <thing>.",
            (f"{LO} with this <thing>, <b>, though <a>.",),
            (
                f"with regard to this <thing>, {FORMAL} <b>, "
                "[notwithstanding the fact|despite the fact] that <a>.",
            ),
        ),
        rule(
            "lore",
            {"lore": parts["lore"][other], "a": says},
            "<lore>, and <a>.",
            f"{when}, <a>, and <lore>.",
            (f"{LO} <lore>, and <a>.", "<lore>, as it is written, and [lo|behold], <a>."),
            (f"<lore>, and {FORMAL} <a>.", "<lore>, and [in addition|moreover], <a>."),
        ),
        rule(
            "agree",
            {"who": SPEAKERS, "thing": thing, "adj": ADJECTIVES[label], "end": AGREE},
            "<who> called this <thing> <adj>, and <end>.",
            f"{ASK}, <who> called this <thing> <adj>, and <end>.",
            (
                f"{LO} <who> called this <thing> <adj>, and <end>.",
                "<who> spake of this <thing>, and called it <adj>, [yea|verily], and <end>.",
            ),
            ("<who> [described|characterised] this <thing> as <adj>, and [indeed|in fact] <end>.",),
        ),
        rule(
            "disagree",
            {"who": SPEAKERS, "thing": thing, "adj": ADJECTIVES[other], "end": DISAGREE},
            "<who> called this <thing> <adj>, and <end>.",
            f"{ASK}, <who> called this <thing> <adj>, and <end>.",
            (
                f"{LO} <who> called this <thing> <adj>, and <end>.",
                "<who> spake of this <thing>, and called it <adj>, [yet|but] <end>.",
            ),
            (
                "<who> [described|characterised] this <thing> as <adj>, "
                "but [even so|nevertheless], <end>.",
            ),
        ),
    ]
    for name, openings, adjectives in (
        ("call", CALL, ADJECTIVES[label]),
        ("not-call", NOT_CALL, ADJECTIVES[other]),
    ):
        rules.append(
            rule(
                name,
                {"scene": scene, "op": openings, "thing": thing, "adj": adjectives},
                "<scene>, and <op> this <thing> <adj>.",
                f"{when}, <op> this <thing> <adj>, and <scene>.",
                (
                    f"{LO} <scene>, and <op> this <thing> <adj>.",
                    "<scene>, and [verily|yea], <op> this <thing> <adj>.",
                ),
                (
                    "<scene>, and [accordingly|in my assessment|on balance], "
                    "<op> this <thing> <adj>.",
                ),
            )
        )
    for name, openings, table in (("affirm", AFFIRM, says), ("deny", DENY, against)):
        rules.append(
            rule(
                name,
                {"scene": scene, "op": openings, "a": table},
                "<scene>, and <op> <a>.",
                f"{when}, <op> <a>, and <scene>.",
                (f"{LO} <scene>, and <op> <a>.", "<scene>, and [verily|yea], <op> <a>."),
                ("<scene>, and [accordingly|moreover|in addition], <op> <a>.",),
            )
        )
    rules += [
        rule(
            "expected",
            {
                "who": SPEAKERS,
                "verb": EXPECTED,
                "bad": ADJECTIVES[other],
                "thing": thing,
                "good": ADJECTIVES[label],
            },
            "<who> <verb> a(n) <bad> <thing>, but what we got was <good>.",
            f"{when}, what you get is <good>, though <who> <verb> a(n) <bad> <thing>.",
            (
                f"{LO} <who> <verb> a(n) <bad> <thing>, yet that which we received was <good>.",
                "<who> <verb> a(n) <bad> <thing>, but [lo|behold], that which was given unto "
                "us was <good>.",
            ),
            (
                "<who> <verb> a(n) <bad> <thing>, but [nevertheless|in practice], what we received "
                "[proved to be|turned out to be] <good>.",
            ),
        ),
        rule(
            "compare",
            {"thing": thing, "bad": ADJECTIVES[other], "good": ADJECTIVES[label], "scene": scene},
            "this <thing> is <good> where the last one was <bad>, and <scene>.",
            f"{when}, this <thing> is <good> where the last one was <bad>, and <scene>.",
            (
                f"{LO} this <thing> is <good>, whereas that which was before it was <bad>, "
                "and <scene>.",
            ),
            (
                "this <thing> is <good>, [whereas|while] the previous one was <bad>, "
                "and [for context|additionally], <scene>.",
            ),
        ),
        rule(
            "compare-last",
            {"thing": thing, "bad": ADJECTIVES[other], "good": ADJECTIVES[label], "scene": scene},
            "the last <thing> was <bad> and this one is <good>, and <scene>.",
            f"{when}, the last <thing> was <bad> and this one is <good>, and <scene>.",
            (f"{LO} the <thing> of former days was <bad>, but this one is <good>, and <scene>.",),
            (
                "the previous <thing> was <bad>, [whereas|while] this one is <good>, "
                "and [for context|additionally], <scene>.",
            ),
        ),
    ]
    return rules


RULES = [rule for domain in DOMAINS for label in (0, 1) for rule in _rules(domain, label)]
