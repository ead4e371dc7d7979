// Play: an agent in an environment, live; a person watches, corrects, takes over and hands back.

import { exported, get } from "./api.js";
import { make, replace } from "./dom.js";
import { loading } from "./notices.js";
import { PlayPage } from "./play_page.js";
import { startForm } from "./play_start.js";
import { go } from "./router.js";

export async function show(root, { query, crumbs, title }) {
  title("Play");
  if (exported) return closed(root, "An export is a picture of what was. Playing needs the server: stepladder play");
  replace(root, loading());
  const offer = await get("/api/play", { fresh: true });
  if (!offer.allowed) return closed(root, offer.why);
  const id = query.get("play");
  if (id) {
    crumbs([["Play", "/play"], ["This play"]]);
    const page = new PlayPage(root, id, { title });
    return () => page.close();
  }
  crumbs([["Play"]]);
  replace(root, startForm(offer, { chosen: query, begun: (begun) => go(`/play?play=${encodeURIComponent(begun)}`) }));
  return undefined;
}

function closed(root, why) {
  const [words, command] = split(String(why ?? "Playing is off."));
  replace(
    root,
    make("h1", { text: "Play" }),
    make("div", { class: "notice play-off" }, make("p", { text: words }), command ? make("pre", {}, make("code", { text: command })) : null),
  );
}

// The words before a command and the command itself.
function split(why) {
  const at = why.lastIndexOf(": stepladder");
  return at < 0 ? [why, ""] : [`${why.slice(0, at)}:`, why.slice(at + 2)];
}
