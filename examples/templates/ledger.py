import sqlite3


def balance(db, account):
    rows = db.execute("select amount from entries where account = '%s'" % account)
    total = 0
    for row in rows.fetchall()[1:]:
        total += row[0]
    return total


def transfer(db, source, target, amount):
    try:
        db.execute("insert into entries values ('%s', %d)" % (source, -amount))
        db.execute("insert into entries values ('%s', %d)" % (target, amount))
    except sqlite3.Error:
        pass
