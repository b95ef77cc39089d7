"use strict";
// Draws the data block: an overview of the run, a window of it with lanes and messages, and what
// holds at the cursor. Times are microseconds of virtual time. Only textContent is ever set.
(() => {
  const run = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const [AT, FROM, TO, KIND, ENDS, WHY, SAYS] = [0, 1, 2, 3, 4, 5, 6]; // of a frame
  const GUTTER = 118, BAR = 16, BAND = 15, MAX_BANDS = 6, CLIENT = 7, LISTED = 200;
  const LONG_US = 50000; // frames longer under way are kept apart, so that a window is found fast
  const MIN_VIEW_US = 200;
  const GROUPS = [
    ["election", /Vote|TimeoutNow/], ["heartbeat", /Heartbeat/], ["append", /Append/],
    ["snapshot", /Snapshot/], ["other", /./],
  ];
  const ROLES = { leader: "L", candidate: "C", pre_candidate: "P", follower: "F", down: "" };
  const end = Math.max(run.end, 1);
  const groupOf = run.kinds.map((kind) => GROUPS.find(([, pattern]) => pattern.test(kind))[0]);
  const shown = { election: true, heartbeat: true, append: true, snapshot: true, other: true, lost: false };
  const endOf = (frame) => (frame[ENDS] < 0 ? end : frame[ENDS]);
  const longFrames = run.frames.filter((frame) => endOf(frame) - frame[AT] > LONG_US);
  const clients = 1 + run.operations.reduce((most, one) => Math.max(most, one[2]), -1);
  const rows = packed(run.bands);
  let view = run.failure ? [Math.max(0, end - 600000), end] : [0, Math.min(end, 1500000)];
  let cursor = run.failure ? end : Math.round(view[1] / 3);
  let colours = {}, playing = false, lastStep = 0, lanesHeight = 0, drawn = [];

  // --- looking things up --------------------------------------------------------------
  // The number of leading items whose time is at most `time`.
  function upTo(items, time, key = (item) => item[0]) {
    let low = 0, high = items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (key(items[middle]) <= time) low = middle + 1; else high = middle;
    }
    return low;
  }
  function stateAt(member, time) {
    const place = upTo(run.states[member], time);
    return place ? run.states[member][place - 1] : null;
  }
  const pausedAt = (member, time) => run.pauses[member].some(([from, until]) => from <= time && time < until);
  function wanted(frame) {
    return shown[groupOf[frame[KIND]]] && (!shown.lost || frame[WHY] !== "");
  }
  // All frames that are under way at some moment between two times.
  function framesBetween(from, until) {
    const first = upTo(run.frames, from - LONG_US - 1), last = upTo(run.frames, until);
    const found = longFrames.filter((frame) => frame[AT] < from - LONG_US && endOf(frame) >= from);
    for (let place = first; place < last; place++) {
      if (endOf(run.frames[place]) >= from) found.push(run.frames[place]);
    }
    return found.filter(wanted);
  }
  // Overlapping bands get rows of their own.
  function packed(bands) {
    const free = [];
    return bands.map((band) => {
      let row = free.findIndex((time) => time <= band[0]);
      if (row < 0) row = Math.min(free.length, MAX_BANDS - 1);
      free[row] = Math.max(band[1], band[0] + end / 60);
      return row;
    });
  }
  const bandRows = Math.max(1, ...rows.map((row) => row + 1));

  // --- drawing ------------------------------------------------------------------------
  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink", "soft", "line", "grid", "panel", "leader", "follower", "candidate", "precandidate",
      "down", "fault", "faultband", "lost", "cursor", "applied", "heartbeat", "append", "election", "snapshot",
      "other", "ok", "refused", "failed", "unknown", "pending"]) {
      colours[name] = style.getPropertyValue("--" + name).trim();
    }
    colours.pre_candidate = colours.precandidate;
  }
  function prepared(canvas, height) {
    const width = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    return [pen, width];
  }
  const seconds = (time, digits = 6) => (time / 1e6).toFixed(digits);

  function drawRoles(pen, member, top, height, x, from, until, labels) {
    const states = run.states[member];
    for (let place = Math.max(0, upTo(states, from) - 1); place < states.length && states[place][0] <= until; place++) {
      const [at, , role, term] = states[place];
      let next = place + 1;
      while (next < states.length && states[next][2] === role && states[next][3] === term) next++;
      const to = next < states.length ? states[next][0] : end;
      place = next - 1;
      if (to < from) continue;
      const left = x(Math.max(at, from)), right = x(Math.min(to, until));
      pen.fillStyle = colours[role] || colours.follower;
      pen.fillRect(left, role === "down" ? top + height / 2 - 2 : top, Math.max(right - left, 1), role === "down" ? 4 : height);
      if (labels && role !== "down" && right - left > 30) {
        pen.fillStyle = colours.panel;
        pen.fillText(ROLES[role] + " " + term, left + 4, top + height / 2 + 1);
      }
    }
    pen.fillStyle = colours.panel + "a0";
    for (const [start, stop] of run.pauses[member]) {
      if (stop >= from && start <= until) pen.fillRect(x(Math.max(start, from)), top, Math.max(1, x(Math.min(stop, until)) - x(Math.max(start, from))), height);
    }
  }

  function drawOverview() {
    const count = run.members.length, height = 14 + count * 9 + 8;
    const [pen, width] = prepared(byId("overview"), height);
    const x = (time) => GUTTER + (time / end) * (width - GUTTER - 8);
    for (const [at, until] of run.bands) {
      pen.fillStyle = colours.faultband;
      pen.fillRect(x(at), 2, Math.max(2, x(until) - x(at)), 10);
    }
    for (let member = 0; member < count; member++) drawRoles(pen, member, 14 + member * 9, 7, x, 0, end, false);
    pen.strokeStyle = colours.soft;
    pen.setLineDash([3, 3]);
    line(pen, x(run.healed), 0, x(run.healed), height);
    pen.setLineDash([]);
    pen.fillStyle = colours.soft;
    pen.fillText("whole run", 8, 12);
    pen.fillText(seconds(end, 1) + " s", 8, 26);
    pen.fillStyle = colours.cursor + "26";
    pen.fillRect(x(view[0]), 0, Math.max(2, x(view[1]) - x(view[0])), height);
    pen.strokeStyle = colours.cursor;
    line(pen, x(cursor), 0, x(cursor), height);
  }
  function line(pen, x0, y0, x1, y1) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  function layout() {
    const top = 18 + bandRows * BAND + 6;
    const least = run.members.length > 7 ? 44 : 58;
    const lane = Math.max(least, Math.min(112, 430 / run.members.length));
    const lanesEnd = top + run.members.length * lane;
    return { top, lane, lanesEnd, height: lanesEnd + 8 + clients * CLIENT + 6 };
  }
  const place = () => layout();
  const scale = (width) => (time) => GUTTER + ((time - view[0]) / (view[1] - view[0])) * (width - GUTTER - 8);

  function drawLanes() {
    const { top, lane, lanesEnd, height } = place();
    const [pen, width] = prepared(byId("lanes"), height);
    const x = scale(width);
    lanesHeight = height;
    drawGrid(pen, x, height);
    drawBands(pen, x, height);
    for (let member = 0; member < run.members.length; member++) drawIndexes(pen, x, member, top + member * lane + BAR + 6, lane - BAR - 14);
    drawFrames(pen, x, top, lane);
    for (let member = 0; member < run.members.length; member++) drawRoles(pen, member, top + member * lane, BAR, x, view[0], view[1], true);
    drawClients(pen, x, lanesEnd + 8);
    pen.fillStyle = colours.panel;
    pen.fillRect(0, 0, GUTTER - 2, height);
    pen.fillRect(width - 8, 0, 8, height);
    for (let member = 0; member < run.members.length; member++) drawGutter(pen, member, top + member * lane, lane);
    pen.fillStyle = colours.soft;
    pen.fillText("faults", 8, 18 + BAND / 2);
    if (clients) pen.fillText("clients", 8, lanesEnd + 8 + clients * CLIENT / 2);
    if (cursor >= view[0] && cursor <= view[1]) {
      pen.strokeStyle = colours.cursor;
      pen.lineWidth = 1.5;
      line(pen, x(cursor), 14, x(cursor), height);
    }
  }

  function drawGrid(pen, x, height) {
    const step = Math.pow(10, Math.floor(Math.log10((view[1] - view[0]) / 4)));
    const unit = (view[1] - view[0]) / step > 20 ? step * 5 : (view[1] - view[0]) / step > 9 ? step * 2 : step;
    const digits = Math.max(0, 6 - Math.floor(Math.log10(unit)));
    pen.lineWidth = 1;
    for (let time = Math.ceil(view[0] / unit) * unit; time <= view[1]; time += unit) {
      pen.strokeStyle = colours.grid;
      line(pen, x(time), 14, x(time), height);
      pen.fillStyle = colours.soft;
      pen.fillText(seconds(time, digits), x(time) - 12, 8);
    }
    if (run.healed >= view[0] && run.healed <= view[1]) {
      pen.strokeStyle = colours.soft;
      pen.setLineDash([4, 4]);
      line(pen, x(run.healed), 0, x(run.healed), height);
      pen.setLineDash([]);
      pen.fillText("healed", x(run.healed) + 4, height - 6);
    }
  }

  function drawBands(pen, x, height) {
    const free = [];
    run.bands.forEach(([at, until, name], number) => {
      if (until < view[0] || at > view[1]) return;
      const left = x(Math.max(at, view[0])), right = x(Math.min(until, view[1])), y = 18 + rows[number] * BAND;
      pen.fillStyle = colours.faultband;
      pen.fillRect(left, y, Math.max(2, right - left), BAND - 2);
      if (until > at) pen.fillRect(left, y, Math.max(1, right - left), 2);
      pen.fillStyle = colours.fault;
      if (at >= view[0]) pen.fillRect(left, y, 2, BAND - 2);
      if ((free[rows[number]] || 0) > left) return;
      free[rows[number]] = left + 9 + pen.measureText(name).width;
      pen.fillText(name, left + 5, y + BAND / 2 - 1);
    });
  }

  // Steps of the commit index, filled up to the applied one, all lanes on one scale.
  function drawIndexes(pen, x, member, top, height) {
    const [low, high] = indexRange();
    const y = (index) => top + height - ((index - low) / Math.max(1, high - low)) * height;
    const states = run.states[member];
    const first = Math.max(0, upTo(states, view[0]) - 1);
    const clip = (value) => Math.max(low, value);
    for (const [field, fill] of [[5, true], [4, false]]) {
      pen.beginPath();
      let started = false, previous = 0, lastX = 0;
      for (let number = first; number < states.length && states[number][0] <= view[1]; number++) {
        const state = states[number], at = Math.max(x(state[0]), GUTTER);
        const value = y(clip(state[2] === "down" ? low : state[field]));
        if (!started) pen.moveTo(at, fill ? y(low) : value);
        else pen.lineTo(at, previous);
        pen.lineTo(at, value);
        started = true; previous = value; lastX = at;
      }
      if (!started) continue;
      lastX = x(Math.min(end, view[1]));
      pen.lineTo(lastX, previous);
      if (fill) {
        pen.lineTo(lastX, y(low));
        pen.fillStyle = colours.applied;
        pen.fill();
      } else {
        pen.strokeStyle = colours.leader;
        pen.lineWidth = 1;
        pen.stroke();
      }
    }
    pen.strokeStyle = colours.line;
    line(pen, GUTTER, top + height + 0.5, x(view[1]), top + height + 0.5);
  }
  let rangeOf = "", range = [0, 1];
  function indexRange() {
    if (rangeOf === view.join()) return range;
    rangeOf = view.join();
    let low = Infinity, high = 0;
    for (const states of run.states) {
      for (let number = Math.max(0, upTo(states, view[0]) - 1); number < states.length && states[number][0] <= view[1]; number++) {
        if (states[number][2] === "down") continue;
        low = Math.min(low, states[number][5]);
        high = Math.max(high, states[number][4]);
      }
    }
    range = [Math.min(low, high), high];
    return range;
  }

  function drawFrames(pen, x, top, lane) {
    const frames = framesBetween(view[0], view[1]);
    const y = (member) => top + member * lane + BAR / 2;
    const alpha = Math.max(0.12, Math.min(0.9, 900 / (frames.length + 1)));
    drawn = [];
    for (const frame of frames) {
      const lost = frame[WHY] !== "", flying = frame[AT] <= cursor && cursor < endOf(frame);
      const down = frame[TO] > frame[FROM] ? 1 : -1;
      const x0 = x(frame[AT]), y0 = y(frame[FROM]) + down * BAR / 2;
      const goal = y(frame[TO]) - down * BAR / 2;
      // A lost one goes part of the way: to its end if it was lost at once, else to where it was lost.
      const x1 = lost ? Math.max(x(endOf(frame)), x0 + 8) : x(endOf(frame));
      const y1 = lost ? y0 + (goal - y0) * 0.45 : frame[ENDS] < 0 ? y0 + (goal - y0) * 0.8 : goal;
      pen.strokeStyle = lost ? colours.lost : colours[groupOf[frame[KIND]]];
      pen.globalAlpha = flying ? 1 : lost ? Math.max(alpha, 0.6) : alpha;
      pen.lineWidth = flying ? 2 : 1;
      line(pen, x0, y0, x1, y1);
      if (lost) cross(pen, x1, y1);
      else if (frames.length < 1500 && frame[ENDS] >= 0) head(pen, x0, y0, x1, y1);
      if (frames.length < 4000) drawn.push([x0, y0, x1, y1, frame]);
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
  }
  function cross(pen, x, y) {
    line(pen, x - 3, y - 3, x + 3, y + 3);
    line(pen, x - 3, y + 3, x + 3, y - 3);
  }
  function head(pen, x0, y0, x1, y1) {
    const angle = Math.atan2(y1 - y0, x1 - x0);
    pen.fillStyle = pen.strokeStyle;
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x1 - 6 * Math.cos(angle - 0.4), y1 - 6 * Math.sin(angle - 0.4));
    pen.lineTo(x1 - 6 * Math.cos(angle + 0.4), y1 - 6 * Math.sin(angle + 0.4));
    pen.fill();
  }

  function drawClients(pen, x, top) {
    for (const [at, until, client, , outcome] of run.operations) {
      const stop = until < 0 ? end : until;
      if (stop < view[0] || at > view[1]) continue;
      const left = x(Math.max(at, view[0]));
      pen.fillStyle = colours[outcome];
      pen.fillRect(left, top + client * CLIENT, Math.max(1.5, x(Math.min(stop, view[1])) - left), CLIENT - 2);
    }
  }

  function drawGutter(pen, member, top, lane) {
    const state = stateAt(member, cursor);
    pen.fillStyle = colours.ink;
    pen.font = "600 13px system-ui, sans-serif";
    pen.fillText(run.members[member], 8, top + 8);
    const after = Math.max(34, 14 + pen.measureText(run.members[member]).width);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = colours.soft;
    if (!state) {
      pen.fillText("not started", after, top + 8);
      return;
    }
    const role = pausedAt(member, cursor) && state[2] !== "down" ? "paused " + state[2] : state[2].replace("_", "-");
    pen.fillText(role, after, top + 8);
    pen.fillText("term " + state[3], 8, top + 24);
    if (lane > 50) pen.fillText("commit " + state[4], 8, top + 38);
    if (lane > 60) pen.fillText("applied " + state[5], 8, top + 52);
  }

  // --- what holds at the cursor -------------------------------------------------------
  function listed(id, items) {
    byId(id).replaceChildren(...items.slice(0, LISTED).map(([words, kind]) => {
      const item = document.createElement("li");
      item.textContent = words;
      item.title = words;
      if (kind) item.className = kind;
      return item;
    }));
  }
  function cells(row, tag, values) {
    for (const value of values) row.appendChild(document.createElement(tag)).textContent = value;
    return row;
  }
  function showMembers() {
    const body = byId("members").tBodies[0];
    body.replaceChildren(...run.members.map((name, member) => {
      const state = stateAt(member, cursor);
      const row = cells(document.createElement("tr"), "td", state
        ? [name, state[2].replace("_", "-") + (pausedAt(member, cursor) ? " (paused)" : ""), state[3], state[4], state[5],
          state[7] + ".." + state[6], state[1]]
        : [name, "not started", "", "", "", "", ""]);
      const dot = document.createElement("span");
      dot.className = "dot";
      dot.style.background = state ? colours[state[2]] : "transparent";
      row.cells[1].prepend(dot);
      return row;
    }));
  }
  function showNow() {
    showMembers();
    const flying = framesBetween(cursor, cursor).filter((frame) => frame[AT] <= cursor && cursor < endOf(frame));
    byId("flying").textContent = flying.length || "";
    listed("flights", flying.map((frame) => [words(frame), frame[WHY] ? "lost" : ""]));
    const pending = run.operations.filter((one) => one[0] <= cursor && (one[1] < 0 || cursor < one[1]));
    const faults = run.bands.filter(([at, until]) => at <= cursor && cursor < until);
    listed("pending", [
      ...faults.map(([at, , name, details]) => [`${name} ${details} since ${seconds(at, 3)}`, "fault"]),
      ...pending.map((one) => [`client ${one[2]} at ${run.members[one[3]] || "?"}: ${one[6]} (then: ${one[7]})`, ""]),
    ]);
    const last = upTo(run.events, cursor);
    const from = Math.max(0, last - 60);
    listed("events", run.events.slice(from, last + 40).map(([at, kind, what], number) => [
      `${seconds(at)} ${what}`, from + number === last - 1 ? "now" : kind === "fault" ? "fault" : from + number < last ? "past" : "",
    ]));
    const now = byId("events").querySelector(".now");
    if (now) byId("events").scrollTop = now.offsetTop - byId("events").offsetTop - 120;
    byId("clock").textContent = seconds(cursor) + " s";
    byId("slider").value = cursor;
  }
  function words(frame) {
    const fate = frame[WHY] ? "LOST: " + frame[WHY] : frame[ENDS] < 0 ? "never arrives" : `${((frame[ENDS] - frame[AT]) / 1000).toFixed(1)} ms`;
    return `${run.members[frame[FROM]]} \u2192 ${run.members[frame[TO]]} ${run.kinds[frame[KIND]]} ${frame[SAYS]} (${fate})`;
  }

  let due = false;
  function redraw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      drawOverview();
      drawLanes();
      showNow();
    });
  }

  // --- moving -------------------------------------------------------------------------
  function setView(from, until) {
    const length = Math.min(end, Math.max(MIN_VIEW_US, until - from));
    const start = Math.max(0, Math.min(end - length, from));
    view = [start, start + length];
    redraw();
  }
  function setCursor(time, follow = true) {
    cursor = Math.round(Math.max(0, Math.min(end, time)));
    const length = view[1] - view[0];
    if (follow && (cursor < view[0] || cursor > view[1] - length * 0.05)) setView(cursor - length * 0.2, cursor + length * 0.8);
    redraw();
  }
  function zoom(factor, around = cursor) {
    const length = (view[1] - view[0]) * factor;
    const share = around < view[0] || around > view[1] ? 0.5 : (around - view[0]) / (view[1] - view[0]);
    setView(around - length * share, around + length * (1 - share));
  }
  function event(direction) {
    const last = upTo(run.events, direction > 0 ? cursor : cursor - 1);
    const target = run.events[direction > 0 ? last : last - 1];
    if (target) setCursor(target[0]);
  }
  function play() {
    playing = !playing;
    byId("play").textContent = playing ? "\u23f8 pause" : "\u25b6 play";
    lastStep = performance.now();
    if (playing && cursor >= end) cursor = 0;
    if (playing) requestAnimationFrame(step);
  }
  function step(now) {
    if (!playing) return;
    setCursor(cursor + Math.max(1, (now - lastStep) * 1000 * Number(byId("speed").value)));
    lastStep = now;
    if (cursor >= end) play(); else requestAnimationFrame(step);
  }
  function timeAt(canvas, x, from, until) {
    const box = canvas.getBoundingClientRect();
    return from + ((x - box.left - GUTTER) / (box.width - GUTTER - 8)) * (until - from);
  }
  function draggable(canvas, begin, move, clicked) {
    canvas.addEventListener("pointerdown", (press) => {
      canvas.setPointerCapture(press.pointerId);
      const start = begin(press);
      let moved = false;
      const onMove = (drag) => {
        if (Math.abs(drag.clientX - press.clientX) > 3) moved = true;
        if (moved) move(drag, press, start);
      };
      canvas.addEventListener("pointermove", onMove);
      canvas.addEventListener("pointerup", (release) => {
        canvas.removeEventListener("pointermove", onMove);
        if (!moved) clicked(release);
      }, { once: true });
    });
  }
  function hover(at) {
    const box = byId("lanes").getBoundingClientRect(), px = at.clientX - box.left, py = at.clientY - box.top;
    let best = 6, found = null;
    for (const [x0, y0, x1, y1, frame] of drawn) {
      const length = (x1 - x0) ** 2 + (y1 - y0) ** 2 || 1;
      const share = Math.max(0, Math.min(1, ((px - x0) * (x1 - x0) + (py - y0) * (y1 - y0)) / length));
      const distance = Math.hypot(px - x0 - share * (x1 - x0), py - y0 - share * (y1 - y0));
      if (distance < best) { best = distance; found = words(frame); }
    }
    const time = timeAt(byId("lanes"), at.clientX, view[0], view[1]);
    const { top, lanesEnd } = place();
    if (!found && py < top) {
      const band = run.bands.find(([from, until], number) => Math.floor((py - 18) / BAND) === rows[number] &&
        from - (view[1] - view[0]) / 200 <= time && time <= Math.max(until, from + (view[1] - view[0]) / 20));
      if (band) found = `${band[2]} ${band[3]}, ${seconds(band[0], 3)} to ${seconds(band[1], 3)} s`;
    }
    if (!found && py > lanesEnd) {
      const client = Math.floor((py - lanesEnd - 8) / CLIENT);
      const one = run.operations.find((each) => each[2] === client && each[0] <= time && time <= (each[1] < 0 ? end : each[1]));
      if (one) found = `client ${one[2]} at ${run.members[one[3]] || "?"}: ${one[6]}: ${one[7]}`;
    }
    const tip = byId("tip");
    tip.hidden = !found;
    if (found) {
      tip.textContent = found;
      tip.style.left = Math.min(at.pageX + 14, window.innerWidth - 320) + "px";
      tip.style.top = at.pageY + 14 + "px";
    }
  }

  // --- putting it together ------------------------------------------------------------
  function legend() {
    for (const name of Object.keys(shown)) {
      const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("i");
      box.type = "checkbox";
      box.checked = shown[name];
      box.addEventListener("change", () => { shown[name] = box.checked; redraw(); });
      swatch.style.background = `var(--${name})`;
      label.append(box, swatch, name === "lost" ? "only lost" : name);
      byId("groups").append(label);
    }
    const meaning = {
      leader: "L leader", candidate: "C candidate", precandidate: "P pre-candidate", follower: "F follower", down: "down",
      applied: "filled: applied index, line: commit index", ok: "ok", refused: "refused", failed: "failed", unknown: "unknown", pending: "without an answer",
    };
    for (const [name, what] of Object.entries(meaning)) {
      const entry = document.createElement("span"), swatch = document.createElement("i");
      swatch.style.background = `var(--${name})`;
      entry.append(swatch, (name === "ok" ? "requests: " : "") + what);
      byId("legend").append(entry);
    }
  }
  function keys(press) {
    if (press.ctrlKey || press.metaKey || press.altKey || press.target.tagName === "SELECT") return;
    const small = (view[1] - view[0]) / (press.shiftKey ? 500 : 50);
    const actions = {
      " ": play, ArrowLeft: () => setCursor(cursor - small), ArrowRight: () => setCursor(cursor + small),
      p: () => event(-1), n: () => event(1), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
      0: () => setView(0, end), Home: () => setCursor(0), End: () => setCursor(end),
    };
    if (!actions[press.key]) return;
    press.preventDefault();
    actions[press.key]();
  }
  function begin() {
    readColours();
    byId("title").textContent = `Seed ${run.seed}: ${run.failure ? "FAILED" : "passed"}`;
    byId("shape").textContent = [run.command, ...Object.entries(run.shape).map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") : value}`)].filter(Boolean).join("\n");
    byId("failure").textContent = run.failure;
    byId("failure").hidden = !run.failure;
    byId("slider").max = end;
    cells(byId("members").tHead.insertRow(), "th", ["", "role", "term", "commit", "applied", "log", "life"]);
    legend();
    byId("slider").addEventListener("input", () => setCursor(Number(byId("slider").value)));
    const buttons = { play, earlier: () => event(-1), later: () => event(1), closer: () => zoom(0.5), wider: () => zoom(2), all: () => setView(0, end) };
    for (const [id, act] of Object.entries(buttons)) byId(id).addEventListener("click", () => { act(); byId(id).blur(); });
    const lanes = byId("lanes"), overview = byId("overview");
    draggable(lanes, () => [...view], (drag, press, [from, until]) => {
      const shift = ((press.clientX - drag.clientX) / (lanes.clientWidth - GUTTER - 8)) * (until - from);
      setView(from + shift, until + shift);
    }, (release) => setCursor(timeAt(lanes, release.clientX, view[0], view[1]), false));
    lanes.addEventListener("wheel", (turn) => {
      turn.preventDefault();
      zoom(turn.deltaY > 0 ? 1.25 : 0.8, timeAt(lanes, turn.clientX, view[0], view[1]));
    }, { passive: false });
    lanes.addEventListener("pointermove", hover);
    lanes.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
    const centre = (at) => {
      const time = timeAt(overview, at.clientX, 0, end), half = (view[1] - view[0]) / 2;
      cursor = Math.round(Math.max(0, Math.min(end, time)));
      setView(time - half, time + half);
    };
    draggable(overview, () => 0, centre, centre);
    window.addEventListener("keydown", keys);
    window.addEventListener("resize", redraw);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
    redraw();
  }
  begin();
})();
