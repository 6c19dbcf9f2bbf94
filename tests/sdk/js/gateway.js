// A gateway to point an SDK at: the real binary with a demo home, and what it leaves behind.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
// Longest wait for anything that is bound to happen; only a failing test ever waits that long.
const DEADLINE_MS = 30_000;

// An answer as fast as it can be made.
const QUICK = { ttftMs: 0, tokensPerSecond: 0, outputTokens: 8 };

/** The header that scripts the simulated provider for one request; see `src/simulate/settings.rs`. */
export function simulate(settings = {}) {
  return { 'x-simulate': JSON.stringify({ ...QUICK, ...settings }) };
}

/** Looks again and again until there is something to see. */
export async function waitFor(what, look) {
  const deadline = Date.now() + DEADLINE_MS;
  while (Date.now() < deadline) {
    const found = await look();
    if (found) return found;
    await pause(20);
  }
  throw new Error(`waited ${DEADLINE_MS} ms in vain for ${what}`);
}

/** A running `routerly start --demo`, in which a model that a request names is the only one that is asked. */
export class Gateway {
  static async start() {
    const gateway = new Gateway();
    const binary = process.env.ROUTERLY_BIN || join(ROOT, 'target/debug/routerly');
    gateway.directory = await mkdtemp(join(tmpdir(), 'routerly-sdk-'));
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('ROUTERLY_'));
    gateway.process = spawn(binary, ['start', '--demo', '--port', '0', '--cores', '1'], {
      env: { ...Object.fromEntries(kept), TMPDIR: gateway.directory },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    gateway.printed = '';
    gateway.process.stdout.setEncoding('utf8').on('data', (text) => (gateway.printed += text));
    await waitFor('the greeting', () => {
      if (gateway.process.exitCode !== null) throw new Error(`it ended at its start: ${gateway.printed}`);
      return gateway.printed.includes('print(');
    });
    gateway.url = /^health +(\S+)\/health$/m.exec(gateway.printed)[1];
    gateway.token = /^token +(\S+)$/m.exec(gateway.printed)[1];
    // Nobody is asked twice and nobody is left alone: a test sees what the one it named has said.
    await gateway.edit('config/settings.json', (settings) => {
      const breaker = { failures: 0, errorPercent: 0 };
      settings.upstream = { ...settings.upstream, retries: 0, breaker };
    });
    await gateway.edit('config/projects.json', ([project]) => (project.honorRequestedModel = 'pin'));
    await waitFor('the pinned models', async () => {
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { ...simulate(), authorization: `Bearer ${gateway.token}`, connection: 'close' },
        body: JSON.stringify({ model: 'nobody', messages: [] }),
      });
      await answer.arrayBuffer();
      return answer.status === 404;
    });
    return gateway;
  }

  /** Changes a JSON document of its home the way an editor does: a new file takes the old one's name. */
  async edit(name, change) {
    const [home] = (await readdir(this.directory)).filter((entry) => entry.startsWith('routerly-demo-'));
    const path = join(this.directory, home, name);
    const document = JSON.parse(await readFile(path, 'utf8'));
    change(document);
    await writeFile(`${path}.edited`, JSON.stringify(document), { mode: 0o600 });
    await rename(`${path}.edited`, path);
  }

  /** All usage records so far, oldest first. */
  async records() {
    const homes = (await readdir(this.directory)).filter((name) => name.startsWith('routerly-demo-'));
    const texts = await Promise.all(
      homes.map((home) => readFile(join(this.directory, home, 'data/usage.json'), 'utf8').catch(() => '')),
    );
    // What stands behind the last line end is still being written.
    return texts.flatMap((text) => text.split('\n').slice(0, -1)).map((line) => JSON.parse(line));
  }

  /** The usage record of the request with this trace id, as soon as it is there. */
  record(traceId) {
    return waitFor(`the record of ${traceId}`, async () =>
      (await this.records()).find((record) => record.traceId === traceId),
    );
  }

  /** Value of a counter without labels. */
  async counter(name) {
    const page = await (await fetch(`${this.url}/metrics`, { headers: { connection: 'close' } })).text();
    return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(page)[1]);
  }

  /** Ends it in order; it must have been well all the time. */
  async stop() {
    const ended = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    const impatience = setTimeout(() => this.process.kill('SIGKILL'), DEADLINE_MS);
    const [code] = await ended;
    clearTimeout(impatience);
    await rm(this.directory, { recursive: true });
    if (code !== 0) throw new Error(`the gateway ended with ${code}`);
  }
}
