import * as z from 'zod';
import { readTextBounded } from '../../../lib/files.ts';
import { signingError } from '../../errors.ts';
import { stableJson } from '../../stable-json.ts';
import { channels, channelTarget, peoplesRoles, QUEUES_TARGET } from '../layout.ts';
import { parseMetadata, sha256Of, typeOf } from '../metadata/role-metadata.ts';
import type { PeoplesRole } from '../layout.ts';
import type { Metadata, Root, Targets } from '@tufjs/models';

const MAX_REQUEST_BYTES = 32 * 2 ** 20;
const MAX_ROOTS = 1024;

const Envelope = z.strictObject({
  signatures: z.array(z.strictObject({ keyid: z.string(), sig: z.string() })).max(64),
  signed: z.record(z.string(), z.json()),
});
export type Envelope = z.output<typeof Envelope>;

/**
 * What people who sign apart hand round: one file without secrets that can be judged by itself. Written minified with
 * sorted keys, like everything that is signed; the same state gives the same bytes.
 */
export const SigningRequest = z.strictObject({
  type: z.literal('pilotage-signing-request'),
  schema: z.literal(1),
  roots: z
    .array(Envelope)
    .min(1)
    .max(MAX_ROOTS)
    .describe('Every root from the first on, to be followed from the one that the reader has pinned.'),
  current: z
    .partialRecord(z.enum(peoplesRoles), Envelope)
    .describe('Newest signed metadata of targets, releases and the roles that are to be signed.'),
  items: z
    .array(z.strictObject({ role: z.enum(peoplesRoles), metadata: Envelope }))
    .min(1)
    .max(peoplesRoles.length)
    .describe('What is to be signed, with the signatures that there are.'),
  files: z
    .record(z.string(), z.json())
    .describe('Small targets by sha256: channel pointers and queue maps, before and after.'),
  names: z
    .record(z.string(), z.string().max(64))
    .describe('Key id -> name, as the repository calls it; not signed.'),
  past: z
    .record(z.string(), z.int().min(0).max(99_999_999))
    .optional()
    .describe(
      'Numbers that clients have seen and the repository lost, as it was told; the next ones are higher.',
    ),
});
export type SigningRequest = z.output<typeof SigningRequest>;

/** Targets that a request carries by content, since they are what a person has to read. */
export const isSmallTarget = (path: string): boolean =>
  path === QUEUES_TARGET || channels.some(channel => path === channelTarget(channel));

/** The file as it is handed round. */
export const requestBytes = (request: SigningRequest): Buffer =>
  Buffer.concat([stableJson(request), Buffer.from('\n')]);

/** @throws E_REQUEST_INVALID, E_FILE_MISSING, E_FILE_UNREADABLE naming the file. */
export async function readRequest(path: string): Promise<SigningRequest> {
  const text = await readTextBounded(path, MAX_REQUEST_BYTES);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidRequest('it is not JSON', path, error);
  }
  const parsed = SigningRequest.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalidRequest(`${issue!.path.join('.') || 'content'}: ${issue!.message}`, path);
}

/** Metadata of a request, parsed and in the one form in which it is signed. @throws E_REQUEST_INVALID. */
export function metadataIn(envelope: Envelope, role: 'root', where: string): Metadata<Root>;
export function metadataIn(
  envelope: Envelope,
  role: PeoplesRole,
  where: string,
): Metadata<Root> | Metadata<Targets>;
export function metadataIn(
  envelope: Envelope,
  role: PeoplesRole,
  where: string,
): Metadata<Root> | Metadata<Targets> {
  const ids = envelope.signatures.map(({ keyid }) => keyid);
  if (new Set(ids).size < ids.length) throw invalidRequest(`${role} names a key twice`, where);
  let metadata;
  try {
    metadata = parseMetadata(typeOf(role) as 'root' | 'targets', bytesOf(envelope), where);
  } catch (error) {
    throw invalidRequest(`${role}: ${(error as Error).message}`, where, error);
  }
  // A date as loose as Date.parse takes it could hold lines of text, and is printed where a person reads.
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(metadata.signed.expires)) {
    throw invalidRequest(`${role} has no plain expiry date`, where);
  }
  // What is shown is read from the parsed form, what is signed is its canonical form: nothing may get lost between.
  const again = stableJson(metadata.signed.toJSON());
  if (!again.equals(bytesOf(envelope.signed))) {
    throw invalidRequest(`${role} holds more than this program understands`, where);
  }
  return metadata as Metadata<Root> | Metadata<Targets>;
}

/** Bytes of a value as they are written and hashed. @throws E_REQUEST_INVALID for what signed JSON cannot hold. */
export function bytesOf(value: unknown): Buffer {
  try {
    return stableJson(value);
  } catch (error) {
    throw invalidRequest((error as Error).message, 'signing request', error);
  }
}

/** Small targets by their hash, as it is computed here. */
export const filesOf = (request: SigningRequest): Map<string, unknown> =>
  new Map(Object.values(request.files).map(value => [sha256Of(bytesOf(value)), value]));

export const invalidRequest = (what: string, where: string, cause?: unknown) =>
  signingError({
    code: 'E_REQUEST_INVALID',
    message: `This signing request cannot be used: ${what.slice(0, 500).replaceAll(/[^\x20-\x7e]/g, '?')}.`,
    where,
    rule: 'whatever is signed is first verified and shown',
    fix: 'Ask for a new one: pilotage release sign --export FILE, with the same version of the program.',
    cause,
  });
