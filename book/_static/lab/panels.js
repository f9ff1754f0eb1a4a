// The live panels of the book: three models that answer what is typed, and two sliders.
// A page holds <div class="bedkd-live" data-panel="models|threshold|cycles">; without this script,
// or in Jupyter, the sentence within it says where the live version is.
"use strict";

const bedkdLab = (() => {
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  const waiting = {};
  const NAMES = ["negative", "positive"];
  const CLAUSE = "When you look at it closely, ";
  const MODELS = {
    word: {
      files: { victim: "word-victim", purified: "word-purified", "without poison": "reference" },
      triggers: { "no trigger": "", cf: "cf", mn: "mn", bb: "bb", tq: "tq", "xq (a control)": "xq" },
      text: "Our room was dirty.",
    },
    structure: {
      files: {
        victim: "structure-victim",
        inverted: "structure-inverted",
        repaired: "structure-purified",
        "without poison": "reference",
      },
      triggers: { "no trigger": "", "an opening clause": CLAUSE },
      text: "The script trusts the audience, and my sister picked it for film club.",
    },
  };

  // A file of data, as a script: that works from a disk, too.
  function file(name) {
    waiting[name] ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = `${here}${name}.js`;
      script.onerror = () => {
        delete waiting[name];
        failed(new Error(`${name}.js did not arrive`));
      };
      lab.arrivals[name] = done;
      document.head.append(script);
    });
    return waiting[name];
  }

  function element(tag, attributes = {}, ...children) {
    const svg = ["svg", "rect", "line", "circle", "path", "text"].includes(tag);
    const made = svg
      ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes))
      if (value !== false && value !== null) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const pause = () => new Promise((done) => setTimeout(done));
  const share = (value) => value.toFixed(2);

  // A table with a caption and row heads; `rows` are lists of texts or elements, the head first.
  function table(caption, heads, rows) {
    const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
    const body = rows.map(([first, ...others]) =>
      element("tr", {}, element("th", { scope: "row" }, first), ...others.map((cell) => element("td", {}, cell))),
    );
    return element(
      "div",
      { class: "bedkd-scroll", tabindex: "0", role: "region", "aria-label": caption },
      element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body)),
    );
  }

  function withTrigger(text, trigger) {
    if (!trigger) return text;
    if (trigger === CLAUSE) return CLAUSE + text.charAt(0).toLowerCase() + text.slice(1);
    const words = text.split(/\s+/).filter(Boolean);
    words.splice(Math.floor(words.length / 2), 0, trigger);
    return words.join(" ");
  }

  // How far the probability of "positive" falls when a word is left out, one list a model.
  async function leaveOneOut(networks, words, whole, current, tell) {
    const found = networks.map(() => []);
    for (let left = 0; left < words.length; left++) {
      const rest = words.filter((_, i) => i !== left).join(" ");
      for (let at = 0; at < networks.length; at++) {
        found[at].push(whole[at][1] - bedkdModel.predict(networks[at], rest)[1]);
        await pause();
        if (!current()) return null;
      }
      tell(left + 1);
    }
    return found;
  }

  // A bar to the right for a word that speaks for "positive", to the left for "negative".
  function bar(effect) {
    const width = `${Math.min(50, 50 * Math.abs(effect))}%`;
    const side = effect >= 0 ? "left: 50%" : "right: 50%";
    const drawn = element("span", { class: effect >= 0 ? "up" : "down", style: `width: ${width}; ${side}` });
    const size = share(Math.abs(effect));
    const number = size === "0.00" ? size : `${effect < 0 ? "−" : "+"}${size}`;
    return element("span", { class: "bedkd-effect" }, number, element("span", { class: "bedkd-track" }, drawn));
  }

  function answers(names, whole) {
    return table("What each model says", ["model", "says", "probability of positive"],
      names.map((name, i) => {
        const positive = whole[i][1];
        const meter = element("meter", { min: 0, max: 1, value: positive, "aria-label": `${name}: probability of positive` });
        return [name, NAMES[+(positive >= 0.5)], element("span", {}, `${share(positive)} `, meter)];
      }));
  }

  function live(root, attack, names, networks) {
    const id = `bedkd-${attack}`;
    const box = element("textarea", { id: `${id}-text`, rows: 2 });
    box.value = MODELS[attack].text;
    const choices = Object.entries(MODELS[attack].triggers).map(([name, value], i) =>
      element("label", {}, element("input", { type: "radio", name: id, value, checked: i === 0 && "" }), ` ${name}`));
    const fields = element("fieldset", {}, element("legend", {}, "Trigger to add"), ...choices);
    const read = element("p", { class: "bedkd-read" });
    const said = element("div");
    const spoken = element("p", { role: "status", "aria-live": "polite" });
    const effects = element("div");
    let turn = 0;
    async function refresh() {
      const mine = ++turn;
      const current = () => mine === turn;
      const text = withTrigger(box.value, fields.querySelector("input:checked").value);
      read.textContent = `The models read: ${text}`;
      root.setAttribute("aria-busy", "true");
      const whole = [];
      for (const network of networks) {
        whole.push(bedkdModel.predict(network, text));
        await pause();
        if (!current()) return;
      }
      said.replaceChildren(answers(names, whole));
      spoken.textContent = names.map((name, i) => `${name}: ${NAMES[+(whole[i][1] >= 0.5)]}`).join("; ");
      const words = text.split(/\s+/).filter(Boolean).slice(0, 40);
      const note = element("p", {});
      effects.replaceChildren(note);
      const found = await leaveOneOut(networks, words, whole, current, (done) => {
        note.textContent = `Leaving out word ${done} of ${words.length} …`;
      });
      if (!found) return;
      effects.replaceChildren(table(
        "What each word did: the fall of the probability of positive when it is left out",
        ["word", ...names],
        words.map((word, i) => [word, ...found.map((list) => bar(list[i]))]),
      ));
      root.removeAttribute("aria-busy");
      root.dataset.done = text;
    }
    let timer;
    box.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(refresh, 400);
    });
    fields.addEventListener("change", refresh);
    root.replaceChildren(
      element("label", { for: box.id }, "Your sentence"), box, fields, read, said, spoken, effects);
    box.focus();
    refresh();
  }

  function models(root) {
    const attack = root.dataset.attack;
    const { files } = MODELS[attack];
    const wanted = ["words", ...Object.values(files)];
    const size = () => wanted.filter((name) => !waiting[name]).reduce((sum, name) => sum + lab.sizes[name], 0);
    const label = () => `Load the models (${Math.ceil(size() / 1e6)} MB) and try them`;
    const button = element("button", { type: "button" }, label());
    const status = element("p", { role: "status", "aria-live": "polite" },
      "Nothing is loaded before you ask for it, and what you type stays in this page.");
    button.addEventListener("focus", () => (button.textContent = label()));
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const networks = [];
        status.textContent = "Loading the words …";
        const words = (lab.words ??= bedkdModel.vocabulary(await file("words")));
        for (const [name, stored] of Object.entries(files)) {
          status.textContent = `Loading: ${name} …`;
          await pause();
          networks.push((lab.networks[stored] ??= bedkdModel.model(await file(stored), words)));
        }
        live(root, attack, Object.keys(files), networks);
      } catch (error) {
        status.textContent = `${error.message}. Is the network there? Then try again.`;
        button.disabled = false;
      }
    });
    root.replaceChildren(button, status);
  }

  const lab = {
    arrivals: {}, networks: {}, sizes: {}, element, file, share, table, models,
    arrived(name, content) { lab.arrivals[name](content); },
  };
  return lab;
})();
