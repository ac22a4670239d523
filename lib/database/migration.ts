import type { AnyKysely, ColumnTypes } from './dialect.ts';

/**
 * One step of the schema, shipped with the product as a module. Never changed once released: a later step corrects an
 * earlier one.
 */
export interface Migration {
  /** Number and noun, `0001-jobs`; numbers of one owner only ever grow. The number is the owner's schema level. */
  id: string;
  /** The component whose tables these are, for example `server`. */
  owner: string;
  /** `stable`: what must survive (jobs); `volatile`: what can be made again (caches, counters). */
  class: 'stable' | 'volatile';
  /**
   * The least schema level of a product that may still run against the database after this step: the step's own number
   * when it breaks older code, a smaller one while the previous release (N-1) still works.
   */
  readableBy: number;
  /**
   * Describes the change with kysely's schema builder and the given column types, or with insert, update and delete
   * statements. Statements are recorded and run later, so nothing can be read here (`insert … from select` can).
   */
  up(db: AnyKysely, types: ColumnTypes): Promise<void>;
}

/** The number in front of a migration's id. */
export const migrationLevel = (id: string): number => Number(/^(\d{4})-/.exec(id)?.[1] ?? Number.NaN);

/** The schema level that a product with these migrations speaks for one owner; 0 when it knows none. */
export const productLevel = (migrations: readonly Migration[], owner: string): number =>
  Math.max(0, ...migrations.filter(step => step.owner === owner).map(step => migrationLevel(step.id)));

/** @throws Error for a list that no product may ship: a defect, not a user's mistake. */
export function checkMigrations(migrations: readonly Migration[]): void {
  const seen = new Set<string>();
  const levels = new Map<string, number>();
  for (const { id, owner, readableBy } of migrations) {
    const level = migrationLevel(id);
    if (!/^\d{4}-[a-z0-9-]{1,50}$/.test(id)) throw new Error(`migration ${id}: the id is not like 0001-jobs`);
    if (seen.has(id)) throw new Error(`migration ${id}: the id occurs twice`);
    if (level <= (levels.get(owner) ?? 0)) throw new Error(`migration ${id}: numbers of ${owner} must grow`);
    if (readableBy > level) throw new Error(`migration ${id}: readableBy is beyond its own number`);
    seen.add(id);
    levels.set(owner, level);
  }
}
