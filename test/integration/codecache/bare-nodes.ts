import { execFileSync } from 'node:child_process';
import { access, mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { findProgram } from '../../lab/programs.ts';

/** A kind of worker node: its shell, and the PATH that a wrapper has there. */
export interface BareNode {
  name: string;
  shell: string;
  path: string;
}

/** What the wrapper needs beside a shell, awk and a client for HTTP. */
export const basics =
  'openssl tar gzip rm mv cp ls mkdir wc date uname find sleep id od cat touch true'.split(' ');

/** Makes a directory with only these programs, the ones of this machine, to be a PATH. */
export async function onlyTools(directory: string, names: string[]): Promise<string> {
  await mkdir(directory, { recursive: true });
  for (const name of names) await link(directory, name, await programOf(name));
  return directory;
}

async function programOf(name: string): Promise<string> {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, name);
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new Error(`${name} is not on the PATH`);
}

const link = (directory: string, name: string, program: string) => symlink(program, join(directory, name));

/**
 * The kinds of node that the wrapper must run on: each shell, each awk, curl and wget, and one with nothing but BusyBox
 * and openssl.
 *
 * @param directory where their PATHs are made.
 */
export async function bareNodes(directory: string): Promise<BareNode[]> {
  const node = async (name: string, shell: string, awk: string, client: string) => {
    const path = await onlyTools(join(directory, name), [...basics, client]);
    await link(path, 'awk', await findProgram(awk, awk));
    return { name, shell: await findProgram(shell, shell), path };
  };
  return [
    await node('dash-mawk-curl', 'dash', 'mawk', 'curl'),
    await node('bash-gawk-wget', 'bash', 'gawk', 'wget'),
    await node('dash-awk-of-this-machine-wget', 'dash', 'awk', 'wget'),
    await busyboxNode(join(directory, 'busybox')),
  ];
}

async function busyboxNode(path: string): Promise<BareNode> {
  const busybox = await findProgram('busybox', 'busybox');
  await onlyTools(path, ['openssl']);
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n');
  for (const name of [...basics, 'awk', 'sh', 'wget', 'timeout']) {
    if (name !== 'openssl' && applets.includes(name)) await link(path, name, busybox);
  }
  return { name: 'busybox', shell: join(path, 'sh'), path };
}

/** A program that stands before the one of the same name and ends by running it, as REAL in `script`. */
export async function shim(directory: string, name: string, script: string): Promise<void> {
  const real = await programOf(name);
  await writeFile(join(directory, name), `#!/bin/sh\n${script.replaceAll('REAL', real)}\n`, { mode: 0o755 });
}
