/* Slots that change hands, as rust/core/src/limit/table.rs does it. Two slots, three keys, four callers (two of them of
 * one key), one unit per key and epoch. Claims: no key is admitted twice in an epoch; no key has two slots.
 *
 * id: 0 empty, 1 busy, otherwise a key, plus 1 when it is marked. word: epoch * 8 + count.
 * NT: how often a caller may start over. CRASH: callers may die while they insert.
 * Mutants: NOMARK no mark; NOPIN no waiting for pins; CLOCKFIRST the clock is read before the slot is found;
 * CLEARFIRST the word is cleared before the slot is owned.
 */
#define EPOCH(w) ((w) / 8)
#define COUNT(w) ((w) % 8)

byte id[2], word[2], now = 1, pin[4], sequence[4], lock, admitted[24];
bool dead[4];

inline unique() { assert(!(id[0] > 1 && id[0] / 2 == id[1] / 2)) }

active proctype Clock() { if :: now < 2 -> now++ :: skip fi }

proctype Caller(byte me, key) {
  byte slot, q, seen_id, seen_word, epoch, victim, tries = 0, seen[4];
#ifdef CLOCKFIRST
  epoch = now;
#endif
top:
  tries++;
  if :: tries > NT -> goto out :: else fi;
  atomic { pin[me] = 1; sequence[me]++ };
  slot = 0;
  do
  :: slot < 2 ->
     seen_id = id[slot];
     if
     :: seen_id == key -> seen_id = 0; goto found
     :: seen_id == (key | 1) ->       /* marked: take the mark off */
        atomic { seen_id = 0; if :: id[slot] == (key | 1) -> id[slot] = key; goto found :: else -> goto top fi }
     :: else
     fi;
     seen_id = 0; slot++
  :: else -> break
  od;

  /* Not there: unpin, then insert under the lock that the kernel frees when its holder dies. */
  pin[me] = 0;
  atomic { lock == 0 -> lock = me + 1 };
#ifdef CRASH
  if :: goto die :: skip fi;
#endif
  slot = 0;
  do :: slot < 2 -> if :: (id[slot] | 1) == (key | 1) -> goto unlock :: else fi; slot++ :: else -> break od;
  slot = 0;
  do
  :: slot < 2 ->
     if :: id[slot] < 2 -> word[slot] = 0; atomic { id[slot] = key; unique() }; goto unlock :: else fi;
     slot++
  :: else -> break
  od;

  /* No slot is free: take one away that counts nothing any more. */
  if :: victim = 0 :: victim = 1 fi;
  seen_id = id[victim]; seen_word = word[victim];
  if :: EPOCH(seen_word) >= now -> seen_word = 0; goto give_up :: else fi;
  seen_word = 0;
#ifndef NOMARK
  if
  :: (seen_id & 1) == 0 ->
     atomic { if :: id[victim] == seen_id -> id[victim] = seen_id | 1; seen_id = seen_id | 1 :: else -> goto give_up fi }
  :: else
  fi;
#endif
#ifdef CRASH
  if :: goto die :: skip fi;
#endif
#ifndef NOPIN
  atomic {
    q = 0;
    do :: q < 4 -> seen[q] = (pin[q] && q != me -> sequence[q] : 0); q++ :: else -> break od;
    q = 0
  };
  do
  :: q < 4 -> (seen[q] == 0 || dead[q] || pin[q] == 0 || sequence[q] != seen[q]); seen[q] = 0; q++
  :: else -> break
  od;
  q = 0;
#endif
  seen_word = word[victim];
  if
  :: EPOCH(seen_word) >= now ->
     seen_word = 0;
     atomic { if :: id[victim] == seen_id -> id[victim] = seen_id & 254 :: else fi };
     goto give_up
  :: else
  fi;
#ifdef CLEARFIRST
  atomic { if :: word[victim] == seen_word -> word[victim] = 0; seen_word = 0 :: else -> seen_word = 0; goto give_up fi };
#endif
  seen_word = 0;
  atomic { if :: id[victim] == seen_id -> id[victim] = 1 :: else -> goto give_up fi };
#ifdef CRASH
  if :: goto die :: skip fi;
#endif
  word[victim] = 0;
  atomic { id[victim] = key; unique() };
unlock:
  atomic { lock = 0; victim = 0; slot = 0; seen_id = 0 };
  goto top;
give_up:
  atomic { lock = 0; victim = 0; slot = 0; seen_id = 0 };
  goto out;

found:
#ifndef CLOCKFIRST
  epoch = now;
#endif
  seen_word = word[slot];
  if :: EPOCH(seen_word) > epoch -> epoch = EPOCH(seen_word) :: else fi;
  if :: EPOCH(seen_word) == epoch && COUNT(seen_word) >= 1 -> goto out :: else fi;
  atomic {
    if
    :: word[slot] == seen_word ->
       word[slot] = epoch * 8 + 1;
       admitted[key * 3 + epoch]++;
       assert(admitted[key * 3 + epoch] <= 1)
    :: else -> seen_word = 0; goto top
    fi
  };
out:
  seen_word = 0; slot = 0; pin[me] = 0;
  goto end;
die:
  atomic { dead[me] = true; if :: lock == me + 1 -> lock = 0 :: else fi; seen_id = 0; slot = 0; victim = 0; seen_word = 0 };
end: skip
}

init { atomic { run Caller(0, 2); run Caller(1, 2); run Caller(2, 4); run Caller(3, 6) } }
