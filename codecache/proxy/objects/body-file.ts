import type * as nodeFfi from 'node:ffi';
import { closeSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';

/**
 * A body in a file of its own in memory, from which the system can send it without copying each byte through this process.
 * It stays open while somebody holds it.
 */
export interface BodyFile {
  /** @returns how many bytes from `from` on the connection took at once; 0 when none, for whatever reason. */
  send(socket: Socket, from: number): number;
  hold(): void;
  release(): void;
}

/** Those calls of glibc that Node has no function for. */
interface Libc {
  /** memfd_create(2) */
  memfd_create(name: string, flags: number): number;
  /** sendfile(2) */
  sendfile(to: number, from: number, offset: Buffer, bytes: bigint): bigint;
}

const MFD_CLOEXEC = 1;

/**
 * Half of what a large answer from memory costs is copying it into the connection. Through node:ffi, which Node 26 has as
 * an experiment, sendfile(2) spares that.
 *
 * @returns what puts a body into such a file, or undefined where it cannot be done (older Node, other libc or system).
 */
export function openBodyFiles(): ((body: Buffer) => BodyFile | undefined) | undefined {
  const libc = openLibc();
  // More than 64 bytes: shorter ones may lie where the garbage collector moves them.
  const offset = Buffer.alloc(128);
  return (
    libc &&
    (body => {
      const file = libc.memfd_create('pilotage-body', MFD_CLOEXEC);
      if (file < 0) return undefined;
      try {
        for (let at = 0; at < body.length;) at += writeSync(file, body, at);
      } catch {
        closeSync(file);
        return undefined;
      }
      let holders = 1;
      return {
        send(socket, from) {
          // -1 once it is closed. What went wrong otherwise the next ordinary write to the socket will tell.
          const to = (socket as Socket & { _handle?: { fd?: number } })._handle?.fd ?? -1;
          if (to < 0 || holders === 0) return 0;
          offset.writeBigInt64LE(BigInt(from));
          return Math.max(0, Number(libc.sendfile(to, file, offset, BigInt(body.length - from))));
        },
        hold: () => void (holders += 1),
        release: () => {
          holders -= 1;
          if (holders === 0) closeSync(file);
        },
      };
    })
  );
}

function openLibc(): Libc | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const ffi = process.getBuiltinModule('node:ffi') as typeof nodeFfi | undefined;
    const library = ffi?.dlopen('libc.so.6', {
      memfd_create: { arguments: ['string', 'uint32'], return: 'int32' },
      sendfile: { arguments: ['int32', 'int32', 'buffer', 'uint64'], return: 'int64' },
    });
    return library?.functions;
  } catch {
    return undefined;
  }
}
