// The pool: a parent that replaces dead workers, and workers that take files.
"use strict";
const { fork } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");

const jobs = path.join(path.dirname(process.env.HARNESS_GATE), "jobs");
fs.mkdirSync(jobs, { recursive: true });

function supervise() {
  const children = new Set();
  let stopping = false;
  const start = () => {
    const child = fork(__filename, ["work"]);
    children.add(child);
    child.on("exit", () => {
      children.delete(child);
      for (const file of fs.readdirSync(jobs)) {
        if (file.endsWith(`.${child.pid}`)) {
          fs.renameSync(path.join(jobs, file), path.join(jobs, `${file.split(".")[0]}.ready`));
        }
      }
      if (!stopping) start();
      else if (!children.size) process.exit(0);
    });
  };
  process.on("SIGTERM", () => {
    stopping = true;
    for (const child of children) child.kill("SIGTERM");
  });
  for (let i = 0; i < Number(process.env.HARNESS_WORKERS); i += 1) start();
}

async function work() {
  let stopping = false;
  process.on("SIGTERM", () => { stopping = true; });
  const history = fs.openSync(path.join(process.env.HARNESS_HISTORY, `worker-${process.pid}.jsonl`), "a");
  const record = (type, f, value) => {
    const time = Number(process.hrtime.bigint());
    fs.writeSync(history, `${JSON.stringify({ time, process: `worker-${process.pid}`, type, f, value })}\n`);
  };
  record("info", "hello", { pid: process.pid });
  while (!stopping) {
    const file = take();
    if (file) await run(file, record);
    else await sleep(10);
  }
  process.exit(0);
}

function take() {
  for (const file of fs.readdirSync(jobs).filter((name) => name.endsWith(".ready")).sort()) {
    const mine = path.join(jobs, file.replace("ready", process.pid));
    try {
      fs.renameSync(path.join(jobs, file), mine);
      return mine;
    } catch { /* another worker took it */ }
  }
  return null;
}

async function run(file, record) {
  const activity = path.basename(file).split(".")[0];
  const task = JSON.parse(fs.readFileSync(file, "utf8"));
  const value = { task: task.number, activity, attempt: null, fence: null, pid: process.pid };
  record("invoke", "run", value);
  try {
    if (task.gate) await passGate(task);
    await sleep(task.work * 1000);
  } catch (error) {
    record("fail", "run", { ...value, error: String(error) });
    return;
  }
  record("ok", "run", value);
  fs.renameSync(file, path.join(jobs, `${activity}.done`));
}

function passGate(task) {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = net.connect(process.env.HARNESS_GATE);
    socket.on("connect", () => {
      socket.write(`${JSON.stringify({ gate: task.gate, pid: process.pid, task: task.number })}\n`);
    });
    socket.on("data", (data) => {
      answer += data;
      if (answer === "open\n") {
        socket.destroy();
        resolve();
      }
    });
    socket.on("error", reject);
    socket.on("end", () => reject(new Error("the gate did not open")));
  });
}

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

if (process.argv[2] === "work") work();
else supervise();
