import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Where Debian puts what is not on everyone's PATH; the newest PostgreSQL first. */
async function directories(): Promise<string[]> {
  const base = '/usr/lib/postgresql';
  const versions = await readdir(base).catch(() => [] as string[]);
  const newest = versions
    .toSorted((a, b) => Number(b) - Number(a))
    .map(version => join(base, version, 'bin'));
  const path = (process.env.PATH ?? '').split(':').filter(directory => directory !== '');
  return [...newest, ...path, '/usr/sbin', '/sbin'];
}

/** @throws Error naming the package to install: a test that needs a program fails without it, it is never skipped. */
export async function findProgram(name: string, debianPackage: string): Promise<string> {
  for (const directory of await directories()) {
    const path = join(directory, name);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new Error(
    `${name} is not installed: run test/lab/install.sh as root, or install the package ${debianPackage}`,
  );
}

/** Runs a program to its end, as another system user where given. @throws Error with what it printed. */
export async function runProgram(
  command: string,
  args: readonly string[],
  options: { cwd: string; user?: { uid: number; gid: number } | undefined; seconds?: number },
): Promise<string> {
  const { user } = options;
  const identity =
    user === undefined ? [] : ['--reuid', `${user.uid}`, '--regid', `${user.gid}`, '--clear-groups'];
  const [program, rest] =
    user === undefined ? [command, [...args]] : ['setpriv', [...identity, command, ...args]];
  try {
    const { stdout } = await run(program, rest, {
      cwd: options.cwd,
      timeout: (options.seconds ?? 60) * 1000,
    });
    return stdout;
  } catch (error) {
    const { stdout, stderr, message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error(`${command} failed: ${message.split('\n')[0]}\n${stdout ?? ''}${stderr ?? ''}`, {
      cause: error,
    });
  }
}
