import { spawn } from 'node:child_process';
import { after } from 'node:test';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countOwn } from '../../../autopilot/ledger/count-own.ts';
import { readLedger } from '../../../autopilot/ledger/open-ledger.ts';
import { openEngine } from '../../../autopilot/open-engine.ts';
import { stopPilots } from '../../../autopilot/stop-pilots.ts';
import { silentLog } from '../../../lib/log.ts';
import { systemClock } from '../../../lib/clock.ts';
import { TestServer } from './test-server.ts';

/** Lets the many processes of these tests start without compiling everything anew. */
export const compileCache = await mkdtemp(join(tmpdir(), 'pilotage-compile-cache-'));
after(() => rm(compileCache, { recursive: true, force: true }));

/** A test server, a state directory and autopilot processes that can be ended at any point. */
export class CrashSite {
  readonly server: TestServer;
  readonly directory: string;
  readonly pilots: string;
  readonly state: string;
  readonly #running = new Set<ChildProcess>();

  static async create(): Promise<CrashSite> {
    const directory = await mkdtemp(join(tmpdir(), 'pilotage-autopilot-'));
    const site = new CrashSite(directory);
    await mkdir(site.pilots);
    await writeFile(join(directory, 'ca.pem'), 'not used over plain http on loopback\n');
    await site.server.listen();
    return site;
  }

  private constructor(directory: string) {
    this.directory = directory;
    this.pilots = join(directory, 'pilots');
    this.state = join(directory, 'state');
    this.server = new TestServer(this.pilots);
  }

  config(more: Record<string, unknown> = {}): Record<string, unknown> {
    return {
      queue: 'test',
      servers: [this.server.url],
      serverCa: join(this.directory, 'ca.pem'),
      caches: ['http://127.0.0.1:9/'],
      root: '/not/read/here',
      state: this.state,
      cycleSeconds: 0.1,
      callSeconds: 10,
      maxPilots: 4,
      maxPerCycle: 4,
      agent: { idleSeconds: 1 },
      ...more,
    };
  }

  /** A pilot: the first of all ends at once without enrolling; the others work until the file `finish` is there. */
  wrapper(): string {
    return `cd "${this.pilots}" && id=$(sed 's/.*"submissionId":"\\([0-9A-Z]*\\)".*/\\1/' "$OLDPWD/bootstrap.json")
if mkdir first 2>/dev/null; then
  echo 'PILOTAGE-RESULT {"code":"E_TARGET_HASH","exit":3,"message":"a byte was changed"}'
  exit 3
fi
echo "$$" >>"$id.enrolled"
until [ -e finish ]; do sleep 0.05; done
: >"$id.ended"
echo 'PILOTAGE-RESULT {"code":"ok","exit":0}'
`;
  }

  start(
    options: { killAt?: string; killCount?: number; config?: Record<string, unknown> } = {},
  ): ChildProcess {
    const script = fileURLToPath(new URL('./autopilot-child.ts', import.meta.url));
    const { killAt, killCount } = options;
    const given = { config: this.config(options.config), wrapper: this.wrapper(), killAt, killCount };
    const child = spawn(process.execPath, [script, JSON.stringify(given)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env.PATH!, NODE_COMPILE_CACHE: compileCache, PILOTAGE_LOG: 'error' },
    });
    child.stdout.resume();
    this.#running.add(child);
    child.once('exit', () => this.#running.delete(child));
    return child;
  }

  /** Pilots of the ledger that count, or null before there is a ledger. */
  notEnded(): number | null {
    const ledger = readLedger(this.state);
    if (ledger === null) return null;
    try {
      return countOwn(ledger.db).notEnded;
    } finally {
      ledger.close();
    }
  }

  finishPilots = (): Promise<void> => writeFile(join(this.pilots, 'finish'), '');

  async close(): Promise<void> {
    for (const child of this.#running) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    const engine = await openEngine(
      { maxPilots: 1, local: { maxOutputBytes: 65_536, environment: {} } },
      { spool: join(this.state, 'spool'), env: process.env, log: silentLog },
    );
    await stopPilots(engine, { waitSeconds: 1, force: true, clock: systemClock });
    await this.server.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}
