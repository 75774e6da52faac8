/* Sliding window: a ring of three words (two past sub-windows and the current one), as rust/core/src/limit/window.rs
 * keeps it with eight. Claim: no three consecutive sub-windows ever hold more than MX, whatever NP callers do, however
 * long each of them pauses, and whichever of them never comes back.
 *
 * A word is epoch * 64 + sealed * 32 + count. Each atomic block is one compare-and-swap.
 * Mutant: -DNOSEAL sums past words without sealing them first.
 */
#define WORD(e, s, c) ((e) * 64 + (s) * 32 + (c))
#define EPOCH(w)      ((w) / 64)
#define SEALED(w)     (((w) / 32) % 2)
#define COUNT(w)      ((w) % 32)
#define JOINED(w)     (EPOCH(w) + SEALED(w))   /* a sealed word says that its epoch is over */

int ring[3];
byte now = 2;
byte admitted[6];     /* what was admitted and not given back, by epoch: what the claim is about */

active proctype Clock() { do :: now < 4 -> now++ :: break od }

proctype Caller() {
  byte newest, place, sum, age, mine, tries;
  int word, next;

start:
  tries++;
  if :: tries > 4 -> goto done :: else fi;
  newest = now;
  place = 0;
  do
  :: place < 3 -> atomic { if :: JOINED(ring[place]) > newest -> newest = JOINED(ring[place]) :: else fi }; place++
  :: else -> break
  od;

  sum = 0;
  age = 1;
  do
  :: age < 3 && newest >= age ->
     place = (newest - age) % 3;
     word = ring[place];
     if
     :: EPOCH(word) == newest - age ->
#ifndef NOSEAL
        if
        :: SEALED(word) == 0 ->
           atomic {
             if
             :: ring[place] == word -> ring[place] = WORD(EPOCH(word), 1, COUNT(word)); word = 0
             :: else -> word = 0; goto start
             fi
           };
           goto again
        :: else
        fi;
#endif
        sum = sum + COUNT(word); word = 0; age++
     :: EPOCH(word) < newest - age ->
#ifndef NOSEAL
        atomic {
          if :: ring[place] == word -> ring[place] = WORD(newest - age, 1, 0) :: else -> word = 0; goto start fi
        };
#endif
        word = 0; age++
     :: else -> word = 0; goto start
     fi;
again: skip
  :: else -> break
  od;

  place = newest % 3;
  word = ring[place];
  if :: JOINED(word) > newest -> word = 0; goto start :: else fi;
  next = (EPOCH(word) == newest -> COUNT(word) : 0);
  if :: sum + next + 1 > MX -> word = 0; next = 0; goto done :: else fi;
  atomic {
    if
    :: ring[place] == word ->
       ring[place] = WORD(newest, 0, next + 1);
       admitted[newest]++;
       mine = newest; word = 0; next = 0; sum = 0;
       assert(admitted[0] + admitted[1] + admitted[2] <= MX);
       assert(admitted[1] + admitted[2] + admitted[3] <= MX);
       assert(admitted[2] + admitted[3] + admitted[4] <= MX);
       assert(admitted[3] + admitted[4] + admitted[5] <= MX)
    :: else -> word = 0; next = 0; sum = 0; goto start
    fi
  };
  if :: goto done :: skip fi;      /* kept, or its caller was killed; or else given back: */

back:
  place = mine % 3;
  word = ring[place];
  if
  :: EPOCH(word) != mine -> word = 0; goto done
  :: else ->
     atomic {
       if
       :: ring[place] == word ->
          assert(COUNT(word) > 0);
          ring[place] = WORD(EPOCH(word), SEALED(word), COUNT(word) - 1);
          admitted[mine]--; word = 0
       :: else -> word = 0; goto back
       fi
     }
  fi;
done: skip
}

init { byte i; atomic { do :: i < NP -> run Caller(); i++ :: else -> break od } }
