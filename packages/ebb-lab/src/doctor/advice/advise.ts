/** Chooses the advice that fits what was found. */
import type { Advice } from '../diagnosis.js'
import type { Findings } from './advice.js'
import { ALLOCATOR_RULES } from './allocator.js'
import { KERNEL_RULES } from './kernel.js'
import { RUNTIME_RULES } from './runtimes.js'

/**
 * Returns what to do about the memory of a process. Each piece of advice rests on a figure of the findings. Advice with
 * the largest figure in bytes comes first, then advice about counts.
 */
export function adviseOn(found: Findings): Advice[] {
  return [...ALLOCATOR_RULES, ...KERNEL_RULES, ...RUNTIME_RULES]
    .flatMap((rule) => rule(found) ?? [])
    .sort((a, b) => weight(b) - weight(a))
}

function weight({ figure }: Advice): number {
  return figure.unit === 'count' ? 0 : figure.value
}
