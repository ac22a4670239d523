import { chown, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { startDaemon } from './daemon.ts';
import type { Daemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { findProgram, runProgram } from './programs.ts';
import { systemUser } from './system-user.ts';
import { temporaryDirectory } from './temporary.ts';
import type { Ending } from './temporary.ts';

export interface SquidPlace {
  /** What `http_port` is to name. */
  port: number;
  /** For `cache_dir`, `access_log` and the like; Squid may write there, and it goes away with the test. */
  directory: string;
}

export interface Squid {
  url: string;
  directory: string;
  /** Of the process that holds all others of this Squid. */
  pid: number;
  daemon: Daemon;
}

/**
 * The distribution's Squid in the foreground with the given squid.conf, which says everything but where process files go;
 * gone at the end of the test. Makes its `cache_dir` when there is one, and starts several workers when it says so.
 *
 * ```ts
 * const squid = await startSquid(t, ({ port }) => `http_port 127.0.0.1:${port}\nhttp_access allow localhost\n`);
 * ```
 *
 * @throws Error with what Squid said when it does not take the configuration.
 */
export async function startSquid(t: Ending, configuration: (place: SquidPlace) => string): Promise<Squid> {
  const program = await findProgram('squid', 'squid');
  const directory = await temporaryDirectory(t, 'squid');
  const port = await freePort();
  const user = await systemUser('proxy');
  if (user !== undefined) await chown(directory, user.uid, user.gid);
  const text = configuration({ port, directory });
  const file = join(directory, 'squid.conf');
  await writeFile(file, `${text}\n${processFiles(directory)}`, { mode: 0o644 });
  const workers = Number(/^\s*workers\s+(\d+)/m.exec(text)?.[1] ?? 1);
  const several = workers > 1;
  if (several && user !== undefined) await ensureRunDirectory(user);
  // Names the shared memory and the sockets of the workers, which lie in common directories.
  const service = `pilotage${process.pid}p${port}`;
  const args = ['-n', service, '-f', file];
  if (/^\s*cache_dir\s/m.test(text))
    await runProgram(program, ['--foreground', '-z', ...args], { cwd: directory });
  const daemon = await startDaemon({
    name: 'Squid',
    command: program,
    // -N is one process without a master; only a master has several workers.
    args: [several ? '--foreground' : '-N', '-d', '1', ...args],
    cwd: directory,
    // A single process has nothing to bring to an end, and takes two seconds to end when it is asked to.
    stopSignal: several ? 'SIGTERM' : 'SIGKILL',
    ready: async () => (await fetchStatus(port)) > 0 && (await countListening(directory)) >= workers,
  });
  t.after(async () => {
    await daemon.stop();
    await removeShared(service);
  });
  return { url: `http://127.0.0.1:${port}`, directory, pid: daemon.pid, daemon };
}

const processFiles = (directory: string) => `
pid_filename ${directory}/pid
cache_log ${directory}/cache.log
coredump_dir ${directory}
shutdown_lifetime 0 seconds
pinger_enable off
netdb_filename none
`;

/** Where Debian's Squid has the sockets of its workers; made at boot, when its service is started. */
const RUN_DIRECTORY = '/run/squid';

async function ensureRunDirectory(user: { uid: number; gid: number }): Promise<void> {
  const made = await mkdir(RUN_DIRECTORY, { recursive: true });
  if (made !== undefined) await chown(RUN_DIRECTORY, user.uid, user.gid);
}

/** Workers begin one after the other. */
async function countListening(directory: string): Promise<number> {
  const said = await readFile(join(directory, 'cache.log'), 'utf8');
  return said.match(/Accepting .*HTTP Socket connections/g)?.length ?? 0;
}

/** Squid leaves its sockets, and a killed one its shared memory. */
async function removeShared(service: string): Promise<void> {
  for (const directory of [RUN_DIRECTORY, '/dev/shm']) {
    const all = await readdir(directory).catch(() => [] as string[]);
    const names = all.filter(name => name.startsWith(`${service}-`));
    await Promise.all(names.map(name => rm(join(directory, name), { force: true })));
  }
}

async function fetchStatus(port: number): Promise<number> {
  const { statusCode, body } = await request(`http://127.0.0.1:${port}/`, { reset: true });
  await body.dump();
  return statusCode;
}
