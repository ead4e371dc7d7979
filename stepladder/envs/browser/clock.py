"""A page clock of our own: time passes on the page only when `stepladderClock.advance(milliseconds)` is called.

Run as a script before the page's own scripts. It replaces Date, performance.now, setTimeout, setInterval, requestAnimationFrame and
requestIdleCallback, so that a page's delays, animations and time stamps depend on the actions taken and never on how fast the
machine is. Input, layout and painting stay Chromium's own.
"""

from __future__ import annotations

#: 2018-03-01 10:00 UTC: after every date that the pages ask for, as on any day on which they are used now.
START_TIME = 1519898400000

CLOCK_SCRIPT = f"""(() => {{
  const start = {START_TIME}, frame = 1000 / 60, RealDate = Date;
  let now = 0, count = 0, running = false, timers = new Map();
  const add = (callback, delay, repeat, rest) => {{
    count += 1;
    // A timer that sets the next one must let time pass, or `advance` would never end.
    const at = now + (running ? Math.max(delay, 1) : delay);
    timers.set(count, {{callback, rest, at, order: count, repeat: repeat ? Math.max(delay, 1) : 0}});
    return count;
  }};
  const run = (callback, rest) => {{
    try {{
      if (typeof callback === 'function') callback.apply(window, rest);
      else (0, eval)(String(callback));
    }} catch (error) {{ reportError(error); }}
  }};
  const clear = (id) => {{ timers.delete(id); }};
  window.setTimeout = (callback, delay, ...rest) => add(callback, Math.max(Number(delay) || 0, 0), false, rest);
  window.setInterval = (callback, delay, ...rest) => add(callback, Math.max(Number(delay) || 0, 0), true, rest);
  window.clearTimeout = window.clearInterval = window.cancelAnimationFrame = window.cancelIdleCallback = clear;
  const untilFrame = () => (Math.floor(now / frame + 0.001) + 1) * frame - now;
  window.requestAnimationFrame = (callback) => add(() => callback(now), untilFrame(), false, []);
  window.requestIdleCallback = (callback) => add(
    () => callback({{didTimeout: false, timeRemaining: () => 50}}), 1, false, []);
  window.Date = class extends RealDate {{
    constructor(...values) {{ if (values.length) super(...values); else super(Math.floor(start + now)); }}
    static now() {{ return Math.floor(start + now); }}
  }};
  window.Date = new Proxy(window.Date, {{apply: () => String(new window.Date())}});
  performance.now = () => now;
  window.stepladderClock = {{
    advance(milliseconds) {{
      const end = now + milliseconds;
      running = true;
      while (true) {{
        let next = null;
        for (const [id, timer] of timers)
          if (timer.at <= end && (next === null || timer.at < next[1].at
              || (timer.at === next[1].at && timer.order < next[1].order))) next = [id, timer];
        if (next === null) break;
        const [id, timer] = next;
        now = Math.max(now, timer.at);
        if (timer.repeat) {{ timer.at = now + timer.repeat; count += 1; timer.order = count; }} else timers.delete(id);
        run(timer.callback, timer.rest);
      }}
      running = false;
      now = end;
    }},
    restart() {{ now = 0; timers = new Map(); }},
    now: () => now,
  }};
}})();"""
