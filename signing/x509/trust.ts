import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../lib/errors.ts';
import { readFileBounded } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { isSelfSigned, parseCertificate, type Certificate } from './certificate.ts';
import { splitPem } from './pem.ts';

/** What is trusted: self-signed authorities are anchors; other authorities only help to build a path to an anchor. */
export interface TrustAnchors {
  anchors: Certificate[];
  intermediates: Certificate[];
  /** Where they came from, for messages. */
  source: string;
}

const MAX_FILES = 2000;
const MAX_CERTIFICATES = 4000;
const certificateFile = /\.(pem|crt|cer|[0-9])$/;

/**
 * Loads authorities from one PEM file, or from every certificate file of a directory (`*.pem`, `*.crt`, `*.cer`, and
 * the hash names `*.0` to `*.9` of grid certificate directories).
 *
 * @throws E_FILE_MISSING, E_PERMISSION, E_FILE_UNREADABLE; E_CERTIFICATE_UNREADABLE naming the file; E_TRUST_EMPTY when
 * there is no self-signed authority.
 */
export async function loadTrust(path: string): Promise<TrustAnchors> {
  const pems: { file: string; pem: string }[] = [];
  for (const file of await trustFiles(path)) {
    pems.push({ file, pem: (await readFileBounded(file, 4 << 20)).toString('latin1') });
  }
  return trustFromPem(pems, path);
}

async function trustFiles(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = (await readdir(path)).filter(name => certificateFile.test(name)).sort();
    if (names.length > MAX_FILES) throw tooMany(path, `${names.length} files`);
    return names.map(name => join(path, name));
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, path) : error;
  }
}

const tooMany = (where: string, found: string) =>
  signingError({
    code: 'E_CERTIFICATE_UNREADABLE',
    message: 'There are more certificates than a trust directory has.',
    where,
    expected: `at most ${MAX_FILES} files and ${MAX_CERTIFICATES} certificates`,
    found,
    fix: 'Name the directory that holds only the authorities to trust.',
  });

/**
 * Makes trust from PEM text already at hand; errors as {@link loadTrust}. Certificates that are no authorities are
 * refused, because somebody put them there by mistake.
 */
export function trustFromPem(pems: { file: string; pem: string }[], source: string): TrustAnchors {
  const seen = new Set<string>();
  const anchors: Certificate[] = [];
  const intermediates: Certificate[] = [];
  for (const { file, pem } of pems) {
    splitPem(pem, file).forEach((der, index) => {
      const key = der.toString('latin1');
      if (seen.has(key)) return;
      if (seen.size >= MAX_CERTIFICATES) throw tooMany(source, `more than ${MAX_CERTIFICATES} certificates`);
      seen.add(key);
      const certificate = parseTrusted(der, `${file}, certificate ${index + 1}`);
      (isSelfSigned(certificate) ? anchors : intermediates).push(certificate);
    });
  }
  if (anchors.length === 0) {
    throw signingError({
      code: 'E_TRUST_EMPTY',
      message: 'There is no self-signed authority to trust.',
      where: source,
      expected: 'PEM certificates of authorities, at least one of them self-signed',
      found: `${intermediates.length} certificate(s), none self-signed`,
      fix: 'Give the file or directory with the root authority, for example ca.pem.',
    });
  }
  return { anchors, intermediates, source };
}

function parseTrusted(der: Buffer, where: string): Certificate {
  const certificate = parse(der, where);
  if (certificate.basicConstraints?.ca !== true) {
    throw signingError({
      code: 'E_CERTIFICATE_UNREADABLE',
      message: 'A certificate among the trusted ones is not an authority.',
      where: certificate.where,
      expected: 'basicConstraints with CA:TRUE',
      found: 'an end-entity certificate',
      fix: 'Remove it from there; only authorities belong in it.',
    });
  }
  return certificate;
}

function parse(der: Buffer, where: string): Certificate {
  try {
    return parseCertificate(der, where);
  } catch (error) {
    throw signingError({
      code: 'E_CERTIFICATE_UNREADABLE',
      message: 'A trusted certificate cannot be read.',
      where,
      found: (error as { found?: string }).found ?? String(error),
      fix: 'Replace or remove this file.',
      cause: error,
    });
  }
}
