import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError, PilotageError } from '../../lib/errors.ts';
import { readFileBounded } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import type { Certificate } from '../x509/certificate.ts';
import {
  checkAuthority,
  checkCrl,
  checkLsc,
  checkPolicy,
  checkText,
  FileProblem,
  type Issue,
} from './check-file.ts';

/** Directories as sites have them; symbolic links in them are followed, and only plain files travel. */
export interface TrustSources {
  /** `<hash>.0`, `.signing_policy`, `.namespaces`, `<hash>.r0`. */
  certificates: string;
  /** `<vo>/<host>.lsc`. */
  vomsdir?: string | undefined;
  /** `*.json`. */
  policy?: string | undefined;
}

export interface CollectedFiles {
  /** Path in the bundle -> bytes. */
  files: Map<string, Buffer>;
  authorities: number;
  crls: number;
  /** When the first of the revocation lists runs out, epoch milliseconds. */
  nextUpdateMs: number | null;
  lscFiles: number;
  vos: string[];
  policies: number;
  /** Warnings only: an error refuses the bundle. */
  issues: Issue[];
}

const MAX_FILES = 10_000;
const MAX_BYTES = 128 * 2 ** 20;
const MAX_FILE_BYTES = 32 * 2 ** 20;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._+@-]*$/;

/**
 * Reads and checks everything that a bare node needs to judge certificates. All that is wrong is found in one go.
 *
 * @throws E_TRUST_FILE naming the first files that cannot be bundled, what is wrong and what to do; E_TRUST_EMPTY without
 *   an authority; E_FILE_MISSING, E_PERMISSION for a directory.
 */
export async function collectFiles(sources: TrustSources, nowMs: number): Promise<CollectedFiles> {
  const found: CollectedFiles = {
    files: new Map(),
    authorities: 0,
    crls: 0,
    nextUpdateMs: null,
    lscFiles: 0,
    vos: [],
    policies: 0,
    issues: [],
  };
  const bounds = { bytes: 0 };
  const take = async (
    directory: string,
    name: string,
    at: string,
    check: (text: string) => Buffer | null,
  ) => {
    const file = join(directory, name);
    try {
      if (found.files.size >= MAX_FILES)
        throw new FileProblem(`there are more than ${MAX_FILES} files`, BOUND_FIX);
      const bytes = await readPlainFile(file);
      bounds.bytes += bytes.length;
      if (bounds.bytes > MAX_BYTES)
        throw new FileProblem(`all files are more than ${MAX_BYTES} bytes`, BOUND_FIX);
      const text = bytes.toString('utf8');
      if (/PRIVATE KEY-----/.test(text)) {
        throw new FileProblem(
          'there is a private key in it',
          'Move the key away, and see who could read it.',
        );
      }
      const content = check(text);
      if (content) found.files.set(at, content);
    } catch (error) {
      if (!(error instanceof FileProblem)) throw error;
      found.issues.push({ severity: 'error', file, problem: error.message, fix: error.fix });
    }
  };
  const warn = (file: string, problem: string, fix: string) =>
    found.issues.push({ severity: 'warning', file, problem, fix });

  await collectCertificates(sources.certificates, { found, take, warn, nowMs });
  if (sources.vomsdir !== undefined) {
    for (const vo of await namesIn(sources.vomsdir, name => NAME.test(name))) {
      const directory = join(sources.vomsdir, vo);
      if (!(await isDirectory(directory))) continue;
      const before = found.files.size;
      for (const name of await namesIn(directory, name => NAME.test(name) && name.endsWith('.lsc'))) {
        await take(directory, name, `vomsdir/${vo}/${name}`, checkLsc);
      }
      found.lscFiles += found.files.size - before;
      if (found.files.size > before) found.vos.push(vo);
      else
        warn(
          directory,
          'it has no LSC file and is left out',
          'Put the <host>.lsc of its VOMS servers there.',
        );
    }
  }
  if (sources.policy !== undefined) {
    const before = found.files.size;
    for (const name of await namesIn(sources.policy, name => NAME.test(name) && name.endsWith('.json'))) {
      await take(sources.policy, name, `policy/${name}`, checkPolicy);
    }
    found.policies = found.files.size - before;
  }
  refuseErrors(found.issues);
  if (found.authorities === 0) throw empty(sources.certificates);
  return found;
}

const BOUND_FIX = 'Name the directory that holds only what nodes are to trust.';

interface Collecting {
  found: CollectedFiles;
  take: (
    directory: string,
    name: string,
    at: string,
    check: (text: string) => Buffer | null,
  ) => Promise<void>;
  warn: (file: string, problem: string, fix: string) => void;
  nowMs: number;
}

/** OpenSSL stops at the first number of a hash that is missing, so that what was left out would hide what follows it. */
function closeGaps(files: Map<string, Buffer>): void {
  const next = new Map<string, number>();
  for (const [path, content] of Array.from(files)) {
    const hash = /^certificates\/([0-9a-f]{8})\.[0-9]$/.exec(path)?.[1];
    if (hash === undefined) continue;
    const number = next.get(hash) ?? 0;
    next.set(hash, number + 1);
    files.delete(path);
    files.set(`certificates/${hash}.${number}`, content);
  }
}

async function collectCertificates(
  directory: string,
  { found, take, warn, nowMs }: Collecting,
): Promise<void> {
  const names = await namesIn(directory, name => /^[0-9a-f]{8}\./.test(name));
  const authorities: Certificate[] = [];
  const hashes = new Set<string>();
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  for (const name of names.filter(name => /\.[0-9]$/.test(name))) {
    await take(directory, name, `certificates/${name}`, text => {
      const { certificate, content } = checkAuthority(text, name);
      if (certificate.notAfterMs <= nowMs) {
        const ended = `${certificate.subjectDn} ended on ${day(certificate.notAfterMs)} and is left out`;
        warn(join(directory, name), ended, 'Update the distribution of authorities.');
        return null;
      }
      authorities.push(certificate);
      hashes.add(name.slice(0, 8));
      return content;
    });
  }
  closeGaps(found.files);
  found.authorities = new Set(authorities.map(({ der }) => der.toString('latin1'))).size;
  const ofKnown = (name: string) => hashes.has(name.slice(0, 8));
  for (const name of names.filter(name => /\.(signing_policy|namespaces)$/.test(name) && ofKnown(name))) {
    await take(directory, name, `certificates/${name}`, checkText);
  }
  for (const name of names.filter(name => /\.r[0-9]$/.test(name) && ofKnown(name))) {
    await take(directory, name, `certificates/${name}`, text => {
      const { crl, content } = checkCrl(text, name, authorities);
      const { nextUpdateMs } = crl;
      found.crls += 1;
      if (nextUpdateMs !== null)
        found.nextUpdateMs = Math.min(nextUpdateMs, found.nextUpdateMs ?? nextUpdateMs);
      if (nextUpdateMs !== null && nextUpdateMs <= nowMs) {
        const late = `it ran out on ${day(nextUpdateMs)}: certificates of its authority are refused until a newer one comes`;
        warn(join(directory, name), late, 'Fetch the lists again (fetch-crl), then bundle again.');
      }
      return content;
    });
  }
}

async function readPlainFile(file: string): Promise<Buffer> {
  try {
    if (!(await stat(file)).isFile()) throw new FileProblem('it is no plain file', 'Remove it.');
    return await readFileBounded(file, MAX_FILE_BYTES);
  } catch (error) {
    if (error instanceof FileProblem) throw error;
    const why = error instanceof PilotageError ? error : fromSystemError(error, file);
    throw new FileProblem(
      why.message.replace(/\.$/, ''),
      'Repair the file, or the link that should lead to one.',
    );
  }
}

async function namesIn(directory: string, wanted: (name: string) => boolean): Promise<string[]> {
  try {
    return (await readdir(directory)).filter(wanted).toSorted();
  } catch (error) {
    throw fromSystemError(error, directory);
  }
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    info => info.isDirectory(),
    () => false,
  );

function refuseErrors(issues: readonly Issue[]): void {
  const errors = issues.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  if (first === undefined) return;
  const shown = errors.slice(0, 10).map(({ file, problem }) => `${file}: ${problem}`);
  throw signingError({
    code: 'E_TRUST_FILE',
    message: `${errors.length} file(s) cannot be bundled.`,
    where: first.file,
    found: shown.join('; ') + (errors.length > shown.length ? '; and more' : ''),
    fix: first.fix,
  });
}

const empty = (directory: string) =>
  signingError({
    code: 'E_TRUST_EMPTY',
    message: 'There is no authority to bundle.',
    where: directory,
    expected: 'PEM certificates under the hash of their subject: <8 hex digits>.0',
    fix: 'Name a grid certificate directory; hash names are made with: openssl rehash DIR',
  });
