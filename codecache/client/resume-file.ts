import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { constants, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { fromSystemError } from '../../lib/errors.ts';
import type { PilotageError } from '../../lib/errors.ts';

/** An answer whose body comes as it is read; one that is not read must be discarded. */
export interface Body {
  /** 206: the part that was asked for. */
  partial: boolean;
  headers: Record<string, string | string[] | undefined>;
  chunks(): AsyncIterable<Buffer>;
  discard(): void;
}

export interface ResumeOptions {
  /** Made when missing; what is there is taken for the beginning of the file. */
  target: string;
  length: number;
  /** Asks for the whole file, or from a byte on, by the tag of what is there if that is known. */
  get(from?: { bytes: number; etag: string | undefined }): Promise<Body>;
  wrongLength(found: string): PilotageError;
  onBytes(bytes: number): void;
}

/** Times that a download which is cut goes on at the same cache, as long as each time brings something. */
const MAX_CUTS = 20;

/**
 * Fetches a file into `target`, from where an earlier try left it: what is there is hashed, the rest is asked for by
 * Range (RFC 9110 14), so a download that is cut, or whose process is killed, costs only what it did not bring. A body
 * of another length is refused as soon as that shows. Whether the bytes are the right ones is the caller's to judge.
 *
 * @returns `kept`: bytes of the beginning that were there before. @throws what `get` and `wrongLength` give, and of the file
 *   system, E_DISK_FULL among them.
 */
export async function resumeFile(
  options: ResumeOptions,
): Promise<{ sha256: string; bytes: number; kept: number }> {
  const { target, length } = options;
  const file = await onDisk(target, () =>
    open(target, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o600),
  );
  try {
    let hash = createHash('sha256');
    let bytes = await onDisk(target, () => hashBeginning(file, hash, length));
    let kept = bytes;
    let etag: string | undefined;
    for (let cuts = 0; bytes < length;) {
      const body = await options.get(bytes > 0 ? { bytes, etag } : undefined);
      if (!continues(body, bytes, length)) {
        await onDisk(target, () => file.truncate(0));
        hash = createHash('sha256');
        bytes = 0;
        kept = 0;
      }
      const announced = Number(body.headers['content-length'] ?? length - bytes);
      if (body.partial && bytes === 0) {
        body.discard();
        continue;
      }
      if (announced !== length - bytes) {
        body.discard();
        throw options.wrongLength(`${bytes + announced} bytes`);
      }
      etag = strongTag(body.headers.etag);
      const before = bytes;
      try {
        for await (const chunk of body.chunks()) {
          if (bytes + chunk.length > length) throw options.wrongLength('more');
          await onDisk(target, () => file.writeFile(chunk));
          hash.update(chunk);
          bytes += chunk.length;
          options.onBytes(bytes);
        }
        if (bytes < length) throw options.wrongLength(`${bytes} bytes`);
      } catch (error) {
        if (!isClosed((error as Error).cause) || bytes === before || (cuts += 1) > MAX_CUTS) throw error;
      }
    }
    await onDisk(target, () => file.sync());
    return { sha256: hash.digest('hex'), bytes, kept };
  } finally {
    await file.close();
  }
}

/** Whether a connection ended before its time, though not by silence and not by a refusal: the cache is there. */
export const isClosed = (error: unknown): boolean =>
  ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH'].includes(
    (error as NodeJS.ErrnoException | undefined)?.code ?? '',
  );

/** A part must begin where the file ends and be the rest of one of the right length; the whole is a beginning of nothing. */
function continues({ partial, headers }: Body, bytes: number, length: number): boolean {
  if (!partial) return bytes === 0;
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(String(headers['content-range'] ?? ''));
  if (range === null) return false;
  const [, from, to, total] = range;
  return Number(from) === bytes && Number(to) === length - 1 && (total === '*' || Number(total) === length);
}

const strongTag = (tag: string | string[] | undefined): string | undefined =>
  typeof tag === 'string' && tag.startsWith('"') ? tag : undefined;

/** A beginning that is longer than the file may be is none. */
async function hashBeginning(file: FileHandle, hash: Hash, length: number): Promise<number> {
  if ((await file.stat()).size > length) await file.truncate(0);
  const buffer = Buffer.alloc(1 << 20);
  for (let bytes = 0; ;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, bytes);
    if (bytesRead === 0) return bytes;
    hash.update(buffer.subarray(0, bytesRead));
    bytes += bytesRead;
  }
}

async function onDisk<T>(target: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fromSystemError(error, target);
  }
}
