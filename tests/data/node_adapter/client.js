// The client: one line of JSON for each call.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const jobs = path.join(path.dirname(process.env.HARNESS_GATE), "jobs");
const numbers = new Map();
const files = (suffix) => fs.readdirSync(jobs).filter((name) => name.endsWith(suffix));
const write = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const calls = {
  hello: () => ({ protocol: 1, version: process.version }),
  prepare: () => { fs.mkdirSync(jobs, { recursive: true }); return null; },
  submit: ({ tasks }) => tasks.map((task) => {
    const activity = `job${String(task.number).padStart(5, "0")}`;
    numbers.set(activity, task.number);
    fs.writeFileSync(path.join(jobs, activity), JSON.stringify(task));
    fs.renameSync(path.join(jobs, activity), path.join(jobs, `${activity}.ready`));
    return { number: task.number, activity };
  }),
  unfinished: () => numbers.size - files(".done").length,
  evidence: ({ id }) => {
    const done = new Set(files(".done").map((name) => name.split(".")[0]));
    for (const [activity, task] of numbers) {
      const status = done.has(activity) ? "complete" : "queued";
      write({ id, operation: { f: "record", value: { task, activity, status } } });
    }
    const ready = files(".ready").length;
    const leased = numbers.size - done.size - ready;
    write({ id, operation: { f: "queue", value: { ready, leased, scheduled: 0, dead: 0 } } });
    return null;
  },
  close: () => null,
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  try {
    write({ id: request.id, result: calls[request.call](request) });
  } catch (error) {
    write({ id: request.id, error: String(error) });
  }
});
