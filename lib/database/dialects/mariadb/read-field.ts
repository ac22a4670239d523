import type { TypeCastField, TypeCastNext } from 'mysql2';
import { numeric, safeInteger } from '../../safe-integer.ts';

/** Whole and exact numbers as JavaScript numbers, everything else as mysql2 reads it. */
export function readField(field: TypeCastField, next: TypeCastNext): unknown {
  if (field.type === 'LONGLONG') return read(field, safeInteger);
  if (field.type === 'NEWDECIMAL' || field.type === 'DECIMAL') return read(field, numeric);
  return next();
}

function read(field: TypeCastField, parse: (text: string) => number): number | null {
  const text = field.string();
  return text === null ? null : parse(text);
}
